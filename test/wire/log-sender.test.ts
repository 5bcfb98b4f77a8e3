import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { unpack } from "msgpackr";
import { encodeFrame, FrameReader, LOG_FRAME_LIMIT } from "../../src/wire/frame.ts";
import {
  BATCH_HEAD,
  LOG_ACK,
  LOG_BATCH,
  LOG_HELLO,
  LOG_LOST,
  LOG_NAME,
  type LogLost,
  type LogName,
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../../src/wire/log-batch.ts";
import { createLogSender, type LogSender } from "../../src/wire/log-sender.ts";
import { LINE_LIMIT, Source } from "../../src/wire/source.ts";

interface Line {
  app: number;
  process: number;
  source: number;
  micros: number;
  text: string;
}

/** A real peer: takes what a sender says on a Unix socket, and acknowledges when told to. */
class Peer {
  server: net.Server;
  sockets = new Set<net.Socket>();
  lines: Line[] = [];
  numbers: number[] = [];
  names: LogName[] = [];
  lost: LogLost[] = [];
  senders: string[] = [];
  acknowledge = true;
  #changed: (() => void)[] = [];

  constructor() {
    this.server = net.createServer((socket) => this.#take(socket));
  }

  #take(socket: net.Socket): void {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => {});
    const reader = new FrameReader(LOG_FRAME_LIMIT, (kind, body) => {
      if (kind === LOG_HELLO) this.senders.push((unpack(body) as { sender: string }).sender);
      if (kind === LOG_NAME) this.names.push(unpack(body) as LogName);
      if (kind === LOG_LOST) this.lost.push(unpack(body) as LogLost);
      if (kind === LOG_BATCH) this.#batch(socket, body);
      for (const changed of this.#changed.splice(0)) changed();
    });
    socket.on("data", (chunk) => reader.push(chunk));
  }

  #batch(socket: net.Socket, body: Buffer): void {
    this.numbers.push(body.readUInt32BE(0));
    for (let at = BATCH_HEAD; at < body.length; ) {
      const length = body.readUInt32BE(at + RECORD_LENGTH);
      this.lines.push({
        app: body.readUInt32BE(at),
        process: body.readUInt32BE(at + RECORD_PROCESS),
        source: body[at + RECORD_SOURCE]!,
        micros: body.readDoubleBE(at + RECORD_MICROS),
        text: body.toString("latin1", at + RECORD_HEAD, at + RECORD_HEAD + length),
      });
      at += RECORD_HEAD + length;
    }
    if (this.acknowledge) socket.write(encodeFrame(LOG_ACK, body.subarray(0, BATCH_HEAD)));
  }

  async listen(file: string): Promise<void> {
    this.server.listen(file);
    await once(this.server, "listening");
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  async close(): Promise<void> {
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

let folder: string;
let file: string;
let peer: Peer;
let sender: LogSender;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "sluice-wire-"));
  file = path.join(folder, "log.sock");
  peer = new Peer();
  await peer.listen(file);
  sender = createLogSender(file);
});

afterEach(async () => {
  await sender.close(0);
  await peer.close();
  rmSync(folder, { recursive: true });
});

test("lines arrive in order with their names, and are acknowledged", async () => {
  const app = sender.app("app-1");
  const web = sender.process("web.1");
  assert.equal(sender.app("app-1"), app);
  for (let i = 0; i < 5000; i += 1) sender.write(app, web, Source.Dyno, 1e15 + i, Buffer.from(`line ${i}`));
  await sender.close(5000);
  assert.deepEqual(
    peer.lines.map((line) => line.text),
    Array.from({ length: 5000 }, (_, i) => `line ${i}`),
  );
  assert.deepEqual(peer.lines[7], {
    app,
    process: web,
    source: Source.Dyno,
    micros: 1e15 + 7,
    text: "line 7",
  });
  assert.ok(peer.names.some((name) => name.app === "app-1" && name.handle === app));
  assert.ok(peer.names.some((name) => name.process === "web.1" && name.handle === web));
});

test("a line written straight into the batch is the same as one copied in", async () => {
  const app = sender.app("a");
  const at = sender.begin(app, 0, Source.Router, 5, 100);
  const end = at + sender.buffer.write("at=info method=GET", at, "latin1");
  sender.commit(end);
  sender.flush();
  await peer.until(() => peer.lines.length === 1);
  assert.equal(peer.lines[0]!.text, "at=info method=GET");
});

test("a line above the limit is split, and an empty one stays a line", async () => {
  sender.write(sender.app("a"), 0, Source.Dyno, 1, Buffer.alloc(LINE_LIMIT * 2 + 5, "x"));
  sender.write(sender.app("a"), 0, Source.Dyno, 1, Buffer.alloc(0));
  await peer.until(() => peer.lines.length === 4);
  assert.deepEqual(
    peer.lines.map((line) => line.text.length),
    [LINE_LIMIT, LINE_LIMIT, 5, 0],
  );
});

test("what was not acknowledged is sent again under its number after a reconnect, with names and counts", async () => {
  const app = sender.app("a");
  sender.write(app, 0, Source.Dyno, 1, Buffer.from("one"));
  sender.flush();
  await peer.until(() => peer.lines.length === 1);
  peer.acknowledge = false;
  sender.write(app, 0, Source.Dyno, 2, Buffer.from("two"));
  sender.flush();
  await peer.until(() => peer.lines.length === 2);
  await peer.close();
  peer = new Peer();
  await peer.listen(file);
  await peer.until(() => peer.lines.length === 1);
  assert.equal(peer.lines[0]!.text, "two");
  assert.deepEqual(peer.numbers, [2]);
  assert.equal(peer.names.find((name) => name.app === "a")!.acknowledged, 1);
  assert.equal(peer.senders.length, 1);
});

test("without a Logplex the oldest go and are counted: delivered and told lost make up all that was written", async () => {
  await peer.close();
  const apps = [sender.app("a"), sender.app("b")];
  const written = 120_000;
  const bytes = Buffer.alloc(60, "y");
  for (let i = 0; i < written; i += 1) sender.write(apps[i % 3 === 0 ? 1 : 0]!, 0, Source.Dyno, i, bytes);
  peer = new Peer();
  await peer.listen(file);
  await sender.close(10_000);
  const count = (app: string): number => peer.lost.find((lost) => lost.app === app)?.count ?? 0;
  assert.ok(count("a") > 0 && count("b") > 0);
  assert.equal(peer.lines.length + count("a") + count("b"), written);
  assert.equal(peer.lines.filter((line) => line.app === apps[1]).length + count("b"), written / 3);
  assert.equal(peer.lines.at(-1)!.micros, written - 1);
  assert.equal(peer.lost.find((lost) => lost.app === "b")!.since, 0);
});

test("a Logplex that stands still costs the sender a bounded number of bytes, and every line is accounted for", async () => {
  const app = sender.app("a");
  await peer.until(() => peer.sockets.size === 1 && peer.senders.length === 1);
  for (const socket of peer.sockets) socket.pause();
  const bytes = Buffer.alloc(1000, "z");
  let written = 0;
  for (let turn = 0; turn < 100; turn += 1) {
    for (let i = 0; i < 100; i += 1, written += 1) sender.write(app, 0, Source.Dyno, written, bytes);
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const socket of peer.sockets) socket.resume();
  await sender.close(10_000);
  const lost = peer.lost.at(-1)?.count ?? 0;
  assert.ok(lost > 0, "ten megabytes cannot all have been kept");
  assert.equal(peer.lines.length + lost, written);
});
