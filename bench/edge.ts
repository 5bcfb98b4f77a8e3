import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readConfig } from "../src/config/environment.ts";
import { layoutOf, socketPath } from "../src/config/layout.ts";
import { EDGE_NODE_OPTIONS } from "../src/config/node-options.ts";
import { startEdge } from "../src/edge/edge.ts";
import { FeedPublisher } from "../src/wire/feed.ts";
import { encodeFrame, FrameReader, LOG_FRAME_LIMIT } from "../src/wire/frame.ts";
import { Link, listenUnix } from "../src/wire/link.ts";
import { BATCH_HEAD, LOG_ACK, LOG_BATCH, RECORD_HEAD, RECORD_LENGTH } from "../src/wire/log-batch.ts";
import type { Route } from "../src/wire/routes.ts";
import { haproxyConfig, nginxConfig, type Peer } from "./edge-peers.ts";
import { median, table } from "./table.ts";

/*
 * CPU of the edge for one request, beside nginx and HAProxy: one worker each, the same backend of 1 KB answers,
 * 64 keep-alive connections, Heroku's request headers, and a log line for every request to a Unix socket.
 */

const CONNECTIONS = 64;
/** Rounds in turn, so a noisy neighbour hits all alike; the middle one of each is shown. */
const ROUNDS = Number(process.env.SLUICE_BENCH_ROUNDS ?? 5);
const SECONDS = Number(process.env.SLUICE_BENCH_SECONDS ?? 2);
const WARM_SECONDS = 1;
const HOST = "bench.localhost";
const self = fileURLToPath(import.meta.url);
const [role, ...rest] = process.argv.slice(2);

// ---- Roles of their own process ----

/** Answers 1 KB to every head, cheaply, so the edge is what is measured; asked, tells its connections since last asked. */
function backend(): void {
  const answer = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: x\r\nConnection: keep-alive\r\nContent-Length: 1024\r\n\r\n${"x".repeat(1024)}`,
  );
  let connections = 0;
  process.on("message", () => {
    process.send!({ connections });
    connections = 0;
  });
  const server = net.createServer({ noDelay: true }, (socket) => {
    connections++;
    socket.on("error", () => {});
    // Heads come whole and one at a time: nobody pipelines here.
    socket.on("data", () => socket.write(answer));
  });
  server.listen(0, "127.0.0.1", () => process.send!({ port: (server.address() as net.AddressInfo).port }));
}

async function edge(): Promise<void> {
  const config = readConfig({ SLUICE_HOME: rest[0] });
  config.edge.port = 0;
  config.edge.tlsPort = 0;
  const part = await startEdge(config, layoutOf(rest[0]!), 1, { ownProcess: false });
  process.send!({ port: part.ports.http });
}

/** A loader for machines without wrk: closed loop, one request at a time a connection. */
function load(): void {
  const [port, seconds] = rest.map(Number);
  const request = Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  let done = 0;
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = net.connect({ port: port!, host: "127.0.0.1", noDelay: true });
    let body = 0;
    socket.on("connect", () => socket.write(request));
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      // The body is 1,024 times one letter, which no head holds so often.
      body += chunk.length - Math.max(0, chunk.indexOf("\r\n\r\n") + (chunk.includes("\r\n\r\n") ? 4 : 0));
      if (body < 1024) return;
      body = 0;
      done++;
      socket.write(request);
    });
  }
  setTimeout(() => {
    process.stdout.write(`${done} requests in\n`);
    process.exit();
  }, seconds! * 1000);
}

// ---- Measuring ----

/** Clock ticks a second of /proc; 100 on every Linux that Debian ships. */
const TICKS = 100;

interface Cpu {
  user: number;
  system: number;
}

/** CPU seconds that `pid` and its children have used, all their threads together. */
function cpu(pid: number): Cpu {
  let user = 0;
  let system = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(entry) !== pid && Number(fields[1]) !== pid) continue;
      user += Number(fields[11]);
      system += Number(fields[12]);
    } catch {
      // It ended meanwhile.
    }
  }
  return { user: user / TICKS, system: system / TICKS };
}

function installed(program: string): boolean {
  return (process.env.PATH ?? "")
    .split(":")
    .concat("/usr/sbin", "/sbin")
    .some((folder) => existsSync(path.join(folder, program)));
}

/** Requests answered within `seconds` of full load. */
async function drive(port: number, seconds: number): Promise<number> {
  const child = installed("wrk")
    ? spawn("wrk", [
        "-t1",
        `-c${CONNECTIONS}`,
        `-d${seconds}s`,
        "-H",
        `Host: ${HOST}`,
        `http://127.0.0.1:${port}/`,
      ])
    : spawn(process.execPath, [self, "load", String(port), String(seconds)]);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  await once(child, "close");
  const failed = /Non-2xx or 3xx responses: (\d+)|Socket errors: .*/.exec(output);
  if (failed) throw new Error(`The load was not answered: ${failed[0]}`);
  return Number(/(\d+) requests in/.exec(output)?.[1] ?? 0);
}

/** One proxy under measurement. */
interface Contender {
  name: string;
  pid: number;
  port: number;
  /** Requests of all rounds, warming up included. */
  requests: number;
  /** Log lines that have come so far. */
  logged(): number;
  /** Most connections that it opened to the backend in one round. */
  opened: number;
  perSecond: number[];
  user: number[];
  system: number[];
  total: number[];
}

const contender = (name: string, pid: number, port: number, logged: () => number): Contender => ({
  ...{ name, pid, port, logged },
  ...{ requests: 0, opened: 0, perSecond: [], user: [], system: [], total: [] },
});

async function measure(one: Contender, opened: () => Promise<number>): Promise<void> {
  one.requests += await drive(one.port, WARM_SECONDS);
  await opened();
  const before = cpu(one.pid);
  const requests = await drive(one.port, SECONDS);
  const after = cpu(one.pid);
  const user = ((after.user - before.user) / requests) * 1e6;
  const system = ((after.system - before.system) / requests) * 1e6;
  one.user.push(user);
  one.system.push(system);
  one.total.push(user + system);
  one.perSecond.push(requests / SECONDS);
  one.requests += requests;
  one.opened = Math.max(one.opened, await opened());
}

/** The proxies are compared with the same work done: every request logged, connections to the backend kept. */
function checkFair({ name, requests, logged, opened }: Contender): void {
  if (logged() < requests * LOGGED_LEAST) {
    throw new Error(`${name} logged ${logged()} of ${requests} requests; the figures would not be fair.`);
  }
  if (opened > CONNECTIONS) {
    throw new Error(`${name} opened ${opened} connections to the backend in one round; it should keep them.`);
  }
}

interface Forked {
  child: ChildProcess;
  pid: number;
  port: number;
}

async function forked(
  children: ChildProcess[],
  args: string[],
  execArgv: readonly string[] = [],
): Promise<Forked> {
  const child = fork(self, args, { execArgv: [...execArgv] });
  children.push(child);
  const [message] = (await once(child, "message")) as [{ port: number }];
  return { child, pid: child.pid!, port: message.port };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Resolves when `port` takes connections. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether the app is answered with 200. */
async function serves(port: number): Promise<boolean> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return chunk.toString("latin1").startsWith("HTTP/1.1 200");
}

/** Control and Logplex of the measured edge: publishes one route, takes and acknowledges every log batch. */
async function surroundings(
  folder: string,
  backendPort: number,
): Promise<{ logged(): number; close(): void }> {
  const layout = layoutOf(folder, { SLUICE_SOCKETS: folder });
  const publisher = new FeedPublisher<Route>(1);
  publisher.update([
    [
      "app:bench",
      {
        kind: "app",
        app: "bench",
        name: "bench",
        hosts: [HOST],
        state: "up",
        dynos: [{ id: "d1", name: "web.1", address: "127.0.0.1", port: backendPort }],
        quantity: 1,
        bootSeconds: 75,
        errorPage: null,
        maintenancePage: null,
        affinity: false,
        keepAlive: true,
      },
    ],
  ]);
  let lines = 0;
  const servers = [
    await listenUnix(socketPath(layout, "control-edge"), null, (socket) => {
      const link = new Link(socket);
      link.onMessage = (kind, message) => void publisher.take(link, kind, message);
    }),
    await listenUnix(socketPath(layout, "logplex-edge"), null, (socket) => {
      const reader = new FrameReader(LOG_FRAME_LIMIT, (kind, body) => {
        if (kind !== LOG_BATCH) return;
        for (let at = BATCH_HEAD; at < body.length; lines++) {
          at += RECORD_HEAD + body.readUInt32BE(at + RECORD_LENGTH);
        }
        socket.write(encodeFrame(LOG_ACK, body.subarray(0, BATCH_HEAD)));
      });
      socket.on("data", (chunk: Buffer) => reader.push(chunk));
      socket.on("error", () => {});
    }),
  ];
  return {
    logged: () => lines,
    close: () => {
      for (const server of servers) server.close();
    },
  };
}

/** Reads syslog datagrams and says their number now and then: Node has none for Unix, perl is on every Debian. */
const SINK =
  "use Socket; $|=1; socket(S,AF_UNIX,SOCK_DGRAM,0) or die; setsockopt(S,SOL_SOCKET,SO_RCVBUF,1<<22); " +
  "bind(S,pack_sockaddr_un($ARGV[0])) or die; " +
  "while(defined recv(S,$b,65536,0)){print qq($n\n) if ++$n%1000==0}";
/** Share of lines that must have come: the kernel holds few datagrams (net.unix.max_dgram_qlen), then the proxies drop them. */
const LOGGED_LEAST = 0.5;

/** A syslog socket of one proxy's own, and the number of lines that it has brought. */
async function startSink(socket: string, children: ChildProcess[]): Promise<() => number> {
  const child = spawn("perl", ["-e", SINK, socket], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  let lines = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    lines = Number(chunk.toString("latin1").trimEnd().split("\n").at(-1));
  });
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
  return () => lines;
}

async function startPeer(
  peer: Peer,
  folder: string,
  logged: () => number,
  children: ChildProcess[],
): Promise<Contender> {
  const port = await freePort();
  const file = path.join(folder, `${peer.name}.conf`);
  writeFileSync(file, peer.config(port));
  const child = spawn(peer.program, peer.args(file), {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  children.push(child);
  const died = once(child, "exit").then(() => {
    throw new Error(`${peer.program} did not start; its settings are in bench/edge-peers.ts.`);
  });
  await Promise.race([listening(port), died]);
  died.catch(() => {});
  return contender(peer.name, child.pid!, port, logged);
}

async function main(): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "sluice-bench-"));
  const children: ChildProcess[] = [];
  process.env.SLUICE_SOCKETS = folder;
  try {
    const { child: dyno, port: backendPort } = await forked(children, ["backend"]);
    const opened = async (): Promise<number> => {
      dyno.send("count");
      const [message] = (await once(dyno, "message")) as [{ connections: number }];
      return message.connections;
    };
    const around = await surroundings(folder, backendPort);
    const ours = await forked(children, ["edge", folder], EDGE_NODE_OPTIONS);
    // The route comes over the link, after the ports are open.
    while (!(await serves(ours.port))) await new Promise((resolve) => setTimeout(resolve, 10));
    const contenders = [contender("sluice edge", ours.pid, ours.port, around.logged)];
    const missing: string[] = [];
    for (const peerConfig of [nginxConfig, haproxyConfig]) {
      const sink = path.join(folder, `${peerConfig.name}.sock`);
      const peer = peerConfig(folder, backendPort, sink);
      if (!installed(peer.program)) missing.push(peer.program);
      else contenders.push(await startPeer(peer, folder, await startSink(sink, children), children));
    }
    for (let round = 0; round < ROUNDS; round++) for (const one of contenders) await measure(one, opened);
    for (const one of contenders) checkFair(one);
    const own = median(contenders[0]!.total);
    console.log(
      table([
        ["", "CPU µs/request", "user", "system", "to the edge", "requests/s", "logged"],
        ...contenders.map((one) => [
          one.name,
          median(one.total).toFixed(1),
          median(one.user).toFixed(1),
          median(one.system).toFixed(1),
          (median(one.total) / own).toFixed(2),
          median(one.perSecond).toFixed(0),
          `${Math.min(100, Math.floor((one.logged() / one.requests) * 100))} %`,
        ]),
      ]),
    );
    console.log(
      `1 KB answers, ${CONNECTIONS} connections, one worker each, the middle of ${ROUNDS} interleaved rounds of ${SECONDS} s; Node ${process.version}, load by ${installed("wrk") ? "wrk" : "a loader of our own (apt-get install wrk for a lighter one)"}.`,
    );
    for (const program of missing)
      console.log(`Not measured: ${program}. Install it: apt-get install ${program}`);
  } finally {
    // In order first: nginx takes its worker along then.
    for (const child of children) child.kill("SIGTERM");
    await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")));
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit();
}

if (role === "backend") backend();
else if (role === "edge") await edge();
else if (role === "load") load();
else await main();
