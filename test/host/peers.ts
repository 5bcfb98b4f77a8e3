import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { unpack } from "msgpackr";
import { type Config, readConfig } from "../../src/config/environment.ts";
import { type Layout, layoutOf, socketPath } from "../../src/config/layout.ts";
import { FeedPublisher } from "../../src/wire/feed.ts";
import { encodeFrame, FrameReader, LOG_FRAME_LIMIT } from "../../src/wire/frame.ts";
import { Link, listenUnix } from "../../src/wire/link.ts";
import {
  BATCH_HEAD,
  LOG_ACK,
  LOG_BATCH,
  LOG_NAME,
  type LogName,
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../../src/wire/log-batch.ts";
import {
  DYNO_REPORT,
  type DynoOrder,
  type DynoReport,
  HOST_INVENTORY,
  type HostInventory,
} from "../../src/wire/orders.ts";
import { sortConnection } from "../../src/wire/stream.ts";

const MIB = 1024 * 1024;

/** Skip reason for what needs root; none in the full run, which is root's. */
export const needsRoot: { skip?: string } =
  process.getuid?.() === 0 || process.env.SLUICE_TEST_FULL ? {} : { skip: "needs root" };

/** A home of a test's own, with its sockets. */
export interface Home {
  folder: string;
  config: Config;
  layout: Layout;
  env: Record<string, string>;
  remove(): void;
}

export function makeHome(env: Record<string, string> = {}): Home {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-host-"));
  chmodSync(folder, 0o711);
  const sockets = path.join(folder, "s");
  for (const name of ["host", "s"]) mkdirSync(path.join(folder, name), { mode: 0o700 });
  const all = { ...env, SLUICE_HOME: folder, SLUICE_SOCKETS: sockets };
  return {
    folder,
    config: readConfig(all),
    layout: layoutOf(folder, all),
    env: all,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Waits until `find` gives something, looking again at each `poke`. */
class Waiters {
  #looks = new Set<() => void>();
  poke(): void {
    for (const look of [...this.#looks]) look();
  }
  until<T>(what: string, find: () => T | undefined | null | false, ms = 20_000): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#looks.delete(look);
        reject(new Error(`Nothing of this kind came in ${ms} ms: ${what}`));
      }, ms);
      const look = (): void => {
        const found = find();
        if (!found) return;
        clearTimeout(timer);
        this.#looks.delete(look);
        resolve(found);
      };
      this.#looks.add(look);
      look();
    });
  }
}

/** Waits for what no message tells of, looking often. */
export async function soon(
  what: string,
  holds: () => boolean,
  ms = 20_000,
  detail = () => "",
): Promise<void> {
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`Waited ${ms / 1000} s for ${what}. ${detail()}`);
    await new Promise((later) => setTimeout(later, 10));
  }
}

export interface LogLine {
  app: string;
  process: string;
  source: number;
  text: string;
}

/** A Logplex's end of the log path: takes batches, acknowledges them, keeps the lines. */
export class LogPeer {
  lines: LogLine[] = [];
  bytes = 0;
  /** Lines are counted but not kept. */
  count = 0;
  keep = true;
  #waiters = new Waiters();
  #server: net.Server | null = null;
  #sockets = new Set<net.Socket>();

  static async open(layout: Layout): Promise<LogPeer> {
    const peer = new LogPeer();
    peer.#server = await listenUnix(socketPath(layout, "logplex-host"), null, (socket) =>
      peer.#serve(socket),
    );
    return peer;
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    const apps = new Map<number, string>();
    const processes = new Map<number, string>();
    const reader = new FrameReader(LOG_FRAME_LIMIT, (kind, body) => {
      if (kind === LOG_NAME) {
        const name = unpack(body) as LogName;
        if (name.app !== null) apps.set(name.handle, name.app);
        else processes.set(name.handle, name.process ?? "");
      } else if (kind === LOG_BATCH) {
        let at = BATCH_HEAD;
        while (at < body.length) {
          const length = body.readUInt32BE(at + RECORD_LENGTH);
          this.count += 1;
          this.bytes += length;
          if (this.keep) {
            this.lines.push({
              app: apps.get(body.readUInt32BE(at)) ?? "?",
              process: processes.get(body.readUInt32BE(at + RECORD_PROCESS)) ?? "?",
              source: body[at + RECORD_SOURCE] as number,
              text: body.toString("utf8", at + RECORD_HEAD, at + RECORD_HEAD + length),
            });
          }
          at += RECORD_HEAD + length;
        }
        const ack = Buffer.alloc(4);
        ack.writeUInt32BE(body.readUInt32BE(0));
        socket.write(encodeFrame(LOG_ACK, ack));
        this.#waiters.poke();
      }
    });
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** Texts of one process, in order; only of one source with `source`. */
  texts(process: string, source?: number): string[] {
    return this.lines
      .filter((line) => line.process === process && (source === undefined || line.source === source))
      .map((line) => line.text);
  }

  until<T>(what: string, find: () => T | undefined | null | false, ms?: number): Promise<T> {
    return this.#waiters.until(`${what}\n${this.lines.map((line) => line.text).join("\n")}`, find, ms);
  }

  line(process: string, text: string | RegExp, ms?: number): Promise<string> {
    const fits = (line: string): boolean => (typeof text === "string" ? line === text : text.test(line));
    return this.#waiters.until(`${process}: ${text}`, () => this.texts(process).find(fits), ms);
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Control's end: publishes orders, keeps what the host reports, serves slugs and streams. */
export class ControlPeer {
  feed: FeedPublisher<DynoOrder>;
  reports: DynoReport[] = [];
  inventories: HostInventory[] = [];
  links: Link[] = [];
  slugs = new Map<string, Buffer>();
  streams = new Map<string, net.Socket>();
  #waiters = new Waiters();
  #server: net.Server | null = null;
  #sockets = new Set<net.Socket>();

  constructor(epoch: number) {
    this.feed = new FeedPublisher<DynoOrder>(epoch);
  }

  static async open(layout: Layout, epoch = 1): Promise<ControlPeer> {
    const peer = new ControlPeer(epoch);
    peer.#server = await listenUnix(socketPath(layout, "control-host"), null, (socket) => {
      peer.#sockets.add(socket);
      socket.on("close", () => peer.#sockets.delete(socket));
      sortConnection(
        socket,
        (id, stream) => peer.#stream(id, stream),
        (raw) => {
          peer.#link(new Link(raw));
          raw.resume();
        },
      );
    });
    return peer;
  }

  #link(link: Link): void {
    this.links.push(link);
    link.onMessage = (kind, message) => {
      if (kind === HOST_INVENTORY) this.inventories.push(message as HostInventory);
      else if (kind === DYNO_REPORT) this.reports.push(message as DynoReport);
      else this.feed.take(link, kind, message);
      this.#waiters.poke();
    };
    link.onClose = () => {
      this.links = this.links.filter((other) => other !== link);
      this.feed.detach(link);
      this.#waiters.poke();
    };
  }

  #stream(id: string, socket: net.Socket): void {
    socket.on("error", () => socket.destroy());
    const slug = id.startsWith("slug:") ? this.slugs.get(id.slice(5)) : undefined;
    if (slug) socket.end(slug);
    else if (id.startsWith("slug:")) socket.destroy();
    else {
      this.streams.set(id, socket);
      // Flows once someone listens; sortConnection has paused it.
      socket.on("newListener", (event) => {
        if (event === "data") socket.resume();
      });
    }
    this.#waiters.poke();
  }

  /** Packs files as a slug and offers it. */
  slug(files: Record<string, string>): NonNullable<DynoOrder["slug"]> {
    const folder = mkdtempSync(path.join(tmpdir(), "sluice-slug-"));
    mkdirSync(path.join(folder, "app"));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(folder, "app", name)), { recursive: true });
      writeFileSync(path.join(folder, "app", name), text, { mode: 0o755 });
    }
    const bytes = execFileSync("tar", ["-czf", "-", "./app"], { cwd: folder });
    rmSync(folder, { recursive: true });
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    this.slugs.set(sha256, bytes);
    return { id: sha256.slice(0, 8), sha256, size: bytes.length };
  }

  order(order: DynoOrder): void {
    this.feed.update([[order.dyno, order]]);
  }
  stop(dyno: string): void {
    this.feed.update([], [dyno]);
  }
  send(kind: number, message: unknown): void {
    for (const link of this.links) link.send(kind, message);
  }

  until<T>(what: string, find: () => T | undefined | null | false, ms?: number): Promise<T> {
    return this.#waiters.until(what, find, ms);
  }
  /** The first report of `dyno` in `state`, of those after `from`. */
  report(dyno: string, state: string, from = 0, ms?: number): Promise<DynoReport> {
    return this.until(
      `${dyno} ${state}`,
      () => this.reports.slice(from).find((report) => report.dyno === dyno && report.state === state),
      ms,
    );
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** An order for a dyno of app `app`. */
export function orderFor(
  dyno: string,
  name: string,
  command: string,
  more: Partial<DynoOrder> = {},
): DynoOrder {
  return {
    dyno,
    kind: "formation",
    app: "app-1",
    appName: "hello",
    name,
    type: name.split(".")[0] as string,
    command,
    version: 1,
    slug: null,
    stack: "heroku-22",
    uid: 200_100,
    env: {},
    size: "Basic",
    limits: { memoryBytes: 64 * MIB, processes: 64, cpuShares: 1 },
    listens: name.startsWith("web"),
    bootSeconds: 60,
    attach: null,
    timeToLive: 0,
    ...more,
  };
}
