import { type ChildProcess, spawn } from "node:child_process";
import net from "node:net";
import { type Layout, socketPath } from "../../../src/config/layout.ts";
import { FeedReader } from "../../../src/wire/feed.ts";
import { ReconnectingLink } from "../../../src/wire/link.ts";
import {
  DYNO_REPORT,
  DYNO_SIGNAL,
  type DynoOrder,
  type DynoReport,
  type DynoSignal,
  type DynoState,
  HOST_INVENTORY,
  type HostInventory,
} from "../../../src/wire/orders.ts";
import { openStream } from "../../../src/wire/stream.ts";

interface Running {
  order: DynoOrder;
  report: DynoReport;
  child: ChildProcess | null;
  wanted: boolean;
  timer: NodeJS.Timeout | null;
}

/**
 * The host's side of the wire with plain child processes and no boxes: keeps orders running, restarts what
 * crashes (at once, then after a pause), reports. Real processes, real sockets, real ports.
 */
export class PeerHost {
  /** A web dyno that does not listen in this time is killed with R10. */
  bootMs = 60_000;
  crashPauseMs = 200;
  /** Every start of a process, by dyno name and version: `web.1 v3`. */
  readonly starts: string[] = [];
  readonly dynos = new Map<string, Running>();
  #reader = new FeedReader<DynoOrder>();
  #link: ReconnectingLink;
  #path: string;
  #changed = new Set<() => void>();

  constructor(layout: Layout) {
    this.#path = socketPath(layout, "control-host");
    this.#reader.onChange = (keys, all) => {
      for (const key of all ? new Set([...this.dynos.keys(), ...keys]) : keys) this.#obey(key);
    };
    this.#link = new ReconnectingLink(this.#path, {
      onOpen: (link) => {
        const inventory: HostInventory = {
          machine: "here",
          address: "127.0.0.1",
          dynos: [...this.dynos.values()].map(({ report }) => report),
          builds: [],
          missing: [],
        };
        this.#reader.hello(link);
        link.send(HOST_INVENTORY, inventory);
      },
      onMessage: (kind, message) => {
        if (this.#link.link && this.#reader.take(this.#link.link, kind, message)) return;
        if (kind === DYNO_SIGNAL) {
          const { dyno, signal } = message as DynoSignal;
          if (signal) this.#kill(this.dynos.get(dyno), signal);
        }
      },
    });
  }

  /** Names of the dynos that run or shall run, with their release: `web.1 v3`. */
  get running(): string[] {
    return [...this.dynos.values()]
      .filter(({ child }) => child !== null)
      .map(({ order }) => `${order.name} v${order.version}`)
      .sort();
  }

  /** Resolves when `is` holds; looked at after every change. */
  until(is: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!is()) return;
        this.#changed.delete(look);
        resolve();
      };
      this.#changed.add(look);
      look();
    });
  }

  find(name: string, version?: number): Running | undefined {
    return [...this.dynos.values()].find(
      ({ order }) => order.name === name && (version === undefined || order.version === version),
    );
  }

  #obey(dyno: string): void {
    const order = this.#reader.table.get(dyno);
    const running = this.dynos.get(dyno);
    if (order && !running) {
      const report: DynoReport = {
        dyno,
        app: order.app,
        state: "starting",
        address: null,
        port: null,
        status: null,
        reason: null,
        restarts: 0,
        memoryBytes: null,
        at: 0,
      };
      const fresh: Running = { order, report, child: null, wanted: true, timer: null };
      this.dynos.set(dyno, fresh);
      void this.#start(fresh);
    } else if (!order && running) {
      running.wanted = false;
      if (running.timer) clearTimeout(running.timer);
      if (running.child) this.#kill(running, "SIGTERM");
      else this.#over(running, "down");
    }
  }

  #kill(running: Running | undefined, signal: NodeJS.Signals): void {
    if (!running?.child?.pid) return;
    try {
      process.kill(-running.child.pid, signal);
    } catch {
      // It has ended by itself.
    }
  }

  async #start(running: Running): Promise<void> {
    const { order } = running;
    const port = await freePort();
    if (!running.wanted) return this.#over(running, "down");
    const stream = order.attach ? await openStream(this.#path, order.attach.stream) : null;
    const child = spawn("sh", ["-c", order.command], {
      detached: true,
      stdio: stream ? "pipe" : "ignore",
      env: { PATH: process.env.PATH, ...order.env, PORT: String(port), DYNO: order.name },
    });
    running.child = child;
    if (stream) {
      stream.on("error", () => {});
      stream.resume();
      stream.on("data", (chunk: Buffer) => {
        // 0x04 ends the input, as at a terminal.
        const end = chunk.indexOf(4);
        child.stdin!.write(end < 0 ? chunk : chunk.subarray(0, end));
        if (end >= 0) child.stdin!.end();
      });
      child.stdin!.on("error", () => {});
      child.stdout!.pipe(stream, { end: false });
      child.stderr!.pipe(stream, { end: false });
    }
    this.starts.push(`${order.name} v${order.version}`);
    this.#say(running, { state: "starting", address: "127.0.0.1", port });
    child.once("close", (code, signal) => {
      stream?.end();
      running.child = null;
      if (running.timer) clearTimeout(running.timer);
      this.#ended(running, code ?? (signal === "SIGKILL" ? 137 : 143));
    });
    if (!order.listens) this.#say(running, { state: "up" });
    else {
      running.timer = setTimeout(() => {
        running.report.reason = "R10";
        this.#kill(running, "SIGKILL");
      }, this.bootMs);
      void this.#listening(running, child, port);
    }
  }

  async #listening(running: Running, child: ChildProcess, port: number): Promise<void> {
    while (running.child === child) {
      const open = await new Promise<boolean>((resolve) => {
        const socket = net.connect(port, "127.0.0.1", () => {
          socket.destroy();
          resolve(true);
        });
        socket.on("error", () => resolve(false));
      });
      if (running.child !== child) return;
      if (open) {
        if (running.timer) clearTimeout(running.timer);
        this.#say(running, { state: "up" });
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #ended(running: Running, status: number): void {
    const { order, report } = running;
    if (!running.wanted || order.kind !== "formation") {
      report.status = status;
      this.#over(running, order.kind === "formation" ? "down" : "complete");
      return;
    }
    this.#say(running, { state: "crashed", status });
    report.reason = null;
    const again = (): void => {
      report.restarts += 1;
      void this.#start(running);
    };
    if (report.restarts === 0) again();
    else running.timer = setTimeout(again, this.crashPauseMs);
  }

  #over(running: Running, state: DynoState): void {
    this.dynos.delete(running.order.dyno);
    this.#say(running, { state });
  }

  #say(running: Running, change: Partial<DynoReport>): void {
    Object.assign(running.report, change);
    this.#link.send(DYNO_REPORT, running.report);
    for (const look of this.#changed) look();
  }

  /** Leaves, and ends every process that it started. */
  async close(): Promise<void> {
    this.#link.close();
    const ends = [...this.dynos.values()].map((running) => {
      running.wanted = false;
      if (running.timer) clearTimeout(running.timer);
      const { child } = running;
      if (!child || child.exitCode !== null) return null;
      const gone = new Promise((resolve) => child.once("close", resolve));
      this.#kill(running, "SIGKILL");
      return gone;
    });
    await Promise.all(ends);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
