import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { layoutOf, socketPath } from "../../src/config/layout.ts";
import { FeedPublisher } from "../../src/wire/feed.ts";
import { Link, listenUnix } from "../../src/wire/link.ts";
import type { AppLogSettings, LogSetting } from "../../src/wire/log-settings.ts";

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** CPU-seconds (user and system, all threads) that process `pid` has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Counts what arrives at the end of the way. */
export class Sink {
  port = 0;
  messages = 0;
  #child: ChildProcess;
  #changed: (() => void)[] = [];

  private constructor() {
    this.#child = fork(script("./sink.js"));
  }

  static async start(): Promise<Sink> {
    const sink = new Sink();
    const [{ port }] = (await once(sink.#child, "message")) as [{ port: number }];
    sink.port = port;
    sink.#child.on("message", ({ messages }: { messages: number }) => {
      sink.messages = messages;
      for (const changed of sink.#changed.splice(0)) changed();
    });
    return sink;
  }

  /** Resolves when at least `count` messages came; false when none came for two seconds before that. */
  async until(count: number): Promise<boolean> {
    while (this.messages < count) {
      let timer: NodeJS.Timeout | null = null;
      const came = await new Promise<boolean>((resolve) => {
        this.#changed.push(() => resolve(true));
        timer = setTimeout(() => resolve(false), 2000);
      });
      if (timer) clearTimeout(timer);
      if (!came) return false;
    }
    return true;
  }

  close(): void {
    this.#child.disconnect();
  }
}

/** A program that takes lines, keeps them and sends them on to the sink. */
export interface Taker {
  pid: number;
  syslogPort: number;
  /** Socket for the host's sender; only Sluice has one. */
  hostSocket: string;
  close(): Promise<void>;
}

export const TOKEN = "t.benchmark";
export const APP = "bench";

/** A Logplex with one app, its ring on disk once a second, and one syslog drain to `drainPort`. */
export async function startSluice(folder: string, drainPort: number): Promise<Taker> {
  const sockets = path.join(folder, "sockets");
  mkdirSync(sockets, { recursive: true });
  const layout = layoutOf(folder, { SLUICE_SOCKETS: sockets });
  const feed = new FeedPublisher<LogSetting>(1);
  const settings: AppLogSettings = {
    kind: "app",
    app: APP,
    name: APP,
    lines: 1500,
    bytes: 4 * 1024 * 1024,
    drains: [
      { id: "1", token: "d.8a2f9b52-0000-4000-8000-000000000001", url: `syslog://127.0.0.1:${drainPort}` },
    ],
    sources: [{ id: "1", name: "bench", token: TOKEN }],
  };
  feed.update([[`app:${APP}`, settings]]);
  const acknowledged = new Promise<void>((resolve) => {
    feed.onAck = () => resolve();
  });
  const control = await listenUnix(socketPath(layout, "control-logplex"), null, (socket) => {
    const link = new Link(socket);
    link.onMessage = (kind, message) => void feed.take(link, kind, message);
  });
  const child = fork(script("./serve.js"), {
    env: { ...process.env, SLUICE_HOME: folder, SLUICE_SOCKETS: sockets },
  });
  const [{ ports }] = (await once(child, "message")) as [{ ports: Record<string, number> }];
  await acknowledged;
  return {
    pid: child.pid!,
    syslogPort: ports.syslog!,
    hostSocket: socketPath(layout, "logplex-host"),
    async close() {
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
      control.close();
    },
  };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** rsyslog with one input module, a file that keeps every line, and octet-counted RFC 5424 on to `drainPort`. */
export async function startRsyslog(
  folder: string,
  drainPort: number,
  input: "imtcp" | "imptcp",
): Promise<Taker> {
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const file = path.join(folder, "rsyslog.conf");
  writeFileSync(
    file,
    `global(workDirectory="${folder}" maxMessageSize="64k")
module(load="${input}")
input(type="${input}" port="${port}" address="127.0.0.1")
action(type="omfile" file="${folder}/kept" template="RSYSLOG_SyslogProtocol23Format")
action(type="omfwd" target="127.0.0.1" port="${drainPort}" protocol="tcp" TCP_Framing="octet-counted"
       template="RSYSLOG_SyslogProtocol23Format")
`,
  );
  const child = spawn("rsyslogd", ["-n", "-f", file, "-i", path.join(folder, "pid")], { stdio: "inherit" });
  for (;;) {
    const socket = net.connect(port, "127.0.0.1");
    const open = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (open) break;
    if (child.exitCode !== null) throw new Error("rsyslogd ended at once; see its message above.");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    pid: child.pid!,
    syslogPort: port,
    hostSocket: "",
    async close() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
}
