import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createLogSender } from "../src/wire/log-sender.ts";
import { Source } from "../src/wire/source.ts";
import { APP, cpuSeconds, Sink, startRsyslog, startSluice, type Taker, TOKEN } from "./logplex/peers.ts";
import { table } from "./table.ts";

/*
 * `npm run bench -- logplex [lines]`: lines taken in per CPU-second of the process that takes them, keeps them
 * (Sluice: ring, on disk once a second; rsyslog: a file) and sends each on to one syslog drain over TCP. The
 * pace is held so that nothing is lost; what arrives at the drain is counted.
 */
const LINES = Number(process.argv[2] ?? 1_000_000);
/** Lines on their way at a time: with one batch more, what a drain may keep waiting, so that nothing is lost. */
const WINDOW = 1000;
const BATCH = 250;
const TEXT = Buffer.from(
  'at=info method=GET path="/items/4711?page=2" request_id=8f6c1c7e dyno=web.1 connect=1ms service=17ms status=200 bytes=5120',
);

interface Way {
  name: string;
  start: (folder: string, drainPort: number) => Promise<Taker>;
  feed: (taker: Taker, sink: Sink) => Promise<void>;
}

/** Sends octet-counted syslog over TCP. */
async function overTcp(taker: Taker, sink: Sink): Promise<void> {
  const socket = net.connect(taker.syslogPort, "127.0.0.1");
  await once(socket, "connect");
  const stamp = new Date().toISOString().replace("Z", "456+00:00");
  const message = `<190>1 ${stamp} host ${TOKEN} web.1 - - ${TEXT}\n`;
  const batch = Buffer.from(`${message.length} ${message}`.repeat(BATCH));
  for (let sent = 0; sent < LINES; sent += BATCH) {
    if (!(await sink.until(sent - WINDOW))) break;
    if (!socket.write(batch)) await once(socket, "drain");
    if (sent === 0) await sink.until(BATCH);
  }
  await sink.until(LINES);
  socket.destroy();
}

/** Sends log batches as the host does. */
async function overLink(taker: Taker, sink: Sink): Promise<void> {
  const sender = createLogSender(taker.hostSocket);
  const app = sender.app(APP);
  const web = sender.process("web.1");
  for (let sent = 0; sent < LINES; sent += BATCH) {
    if (!(await sink.until(sent - WINDOW))) break;
    const now = Date.now() * 1000;
    for (let i = 0; i < BATCH; i += 1) sender.write(app, web, Source.Dyno, now + i, TEXT);
    sender.flush();
    if (sent === 0) await sink.until(BATCH);
  }
  await sink.until(LINES);
  await sender.close(1000);
}

const hasRsyslog = (): boolean => {
  try {
    execFileSync("rsyslogd", ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

const ways: Way[] = [
  { name: "Sluice, internal link", start: startSluice, feed: overLink },
  { name: "Sluice, syslog over TCP", start: startSluice, feed: overTcp },
];
if (hasRsyslog()) {
  for (const input of ["imtcp", "imptcp"] as const) {
    ways.push({
      name: `rsyslog, ${input}`,
      start: (folder, port) => startRsyslog(folder, port, input),
      feed: overTcp,
    });
  }
} else console.log("rsyslog is not installed (apt-get install rsyslog): Sluice alone is measured.");

const rows: { name: string; delivered: number; cpu: number; perSecond: number }[] = [];
for (const way of ways) {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-bench-"));
  const sink = await Sink.start();
  const taker = await way.start(folder, sink.port);
  const before = cpuSeconds(taker.pid);
  await way.feed(taker, sink);
  const cpu = cpuSeconds(taker.pid) - before;
  rows.push({ name: way.name, delivered: sink.messages, cpu, perSecond: LINES / cpu });
  await taker.close();
  sink.close();
  rmSync(folder, { recursive: true });
}
const rsyslog = rows.find(({ name }) => name === "rsyslog, imtcp")?.perSecond;
console.log(
  table([
    ["way in", "lines", "at the drain", "CPU-s", "lines per CPU-s", "to rsyslog imtcp"],
    ...rows.map(({ name, delivered, cpu, perSecond }) => [
      name,
      String(LINES),
      String(delivered),
      cpu.toFixed(2),
      Math.round(perSecond).toLocaleString("en"),
      rsyslog ? (perSecond / rsyslog).toFixed(2) : "-",
    ]),
  ]),
);
