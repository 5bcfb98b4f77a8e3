import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { FeedPublisher, FeedReader } from "../../src/wire/feed.ts";
import { CONTROL_FRAME_LIMIT, encodeFrame } from "../../src/wire/frame.ts";
import { Link, listenUnix, ReconnectingLink } from "../../src/wire/link.ts";
import { openStream, STREAM_OPEN, sortConnection } from "../../src/wire/stream.ts";

let folder: string;
let file: string;
let close: (() => void)[];

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "sluice-link-"));
  file = path.join(folder, "control.sock");
  close = [];
});
afterEach(() => {
  for (const each of close) each();
  rmSync(folder, { recursive: true });
});

async function listen(onConnection: (socket: net.Socket) => void): Promise<net.Server> {
  const sockets = new Set<net.Socket>();
  const server = await listenUnix(file, null, (socket) => {
    sockets.add(socket);
    onConnection(socket);
  });
  close.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return server;
}

/** A publisher on the socket; what readers say goes to it. */
async function publish(feed: FeedPublisher<string>): Promise<{ drop(): void }> {
  const links = new Set<Link>();
  const server = await listen((socket) => {
    const link = new Link(socket);
    links.add(link);
    link.onMessage = (kind, message) => void feed.take(link, kind, message);
    link.onClose = () => {
      links.delete(link);
      feed.detach(link);
    };
  });
  return {
    drop() {
      server.close();
      for (const link of links) link.socket.destroy();
    },
  };
}

/** A reader of the feed, and a way to wait until its table is what it shall be. */
function read(reader: FeedReader<string>): { until(condition: () => boolean): Promise<void> } {
  const waiting: (() => void)[] = [];
  reader.onChange = () => {
    for (const each of waiting.splice(0)) each();
  };
  const link: ReconnectingLink = new ReconnectingLink(file, {
    onOpen: (open) => reader.hello(open),
    onMessage: (kind, message) => void (link.link && reader.take(link.link, kind, message)),
  });
  close.push(() => link.close());
  return {
    async until(condition) {
      while (!condition()) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

test("the socket is its owner's alone, and takes the place of one that a killed process left", async () => {
  const first = await listenUnix(file, null, () => {});
  assert.equal(statSync(file).mode & 0o777, 0o600);
  await listen((socket) => socket.destroy());
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const mask = process.umask();
  process.umask(mask);
  assert.notEqual(mask, 0o177);
  first.close();
});

test("a snapshot, then deltas, acknowledged; and all again from a control that was restarted", async () => {
  const feed = new FeedPublisher<string>(1);
  feed.update([["a", "1"]]);
  const served = await publish(feed);
  const reader = new FeedReader<string>();
  const { until } = read(reader);
  await until(() => reader.table.get("a") === "1");
  const acknowledged = new Promise<number>((resolve) => {
    feed.onAck = (_link, number) => number === 2 && resolve(number);
  });
  feed.update([["b", "2"]], ["a"]);
  assert.equal(await acknowledged, 2);
  assert.deepEqual([...reader.table], [["b", "2"]]);
  served.drop();
  const next = new FeedPublisher<string>(2);
  next.update([["c", "3"]]);
  await publish(next);
  await until(() => reader.table.has("c"));
  assert.deepEqual([...reader.table], [["c", "3"]]);
  assert.deepEqual(reader.position, { epoch: 2, number: 1 });
});

test("an older epoch is refused, and a missing number asks for the whole again", () => {
  const sent: number[] = [];
  const link = { send: (kind: number) => sent.push(kind) } as unknown as Link;
  const reader = new FeedReader<string>();
  const snapshot = (epoch: number, number: number, value: string): void =>
    void reader.take(link, 2, { epoch, number, entries: [["k", value]] });
  snapshot(5, 10, "new");
  snapshot(4, 99, "old");
  assert.equal(reader.table.get("k"), "new");
  reader.take(link, 3, { epoch: 4, number: 11, set: [["k", "old"]], remove: [] });
  assert.equal(reader.table.get("k"), "new");
  sent.length = 0;
  reader.take(link, 3, { epoch: 5, number: 12, set: [["k", "gap"]], remove: [] });
  assert.deepEqual(sent, [1]);
  assert.equal(reader.table.get("k"), "new");
});

test("the table is on disk for a reader without control, whole or not at all", () => {
  const link = { send: () => true } as unknown as Link;
  const saved = path.join(folder, "table");
  const reader = new FeedReader<string>(saved, (value) => value !== "secret");
  reader.take(link, 2, {
    epoch: 7,
    number: 3,
    entries: [
      ["a", "1"],
      ["key", "secret"],
    ],
  });
  reader.save();
  assert.equal(statSync(saved).mode & 0o777, 0o600);
  const again = new FeedReader<string>(saved);
  assert.deepEqual([...again.table], [["a", "1"]]);
  again.take(link, 2, { epoch: 6, number: 1, entries: [] });
  assert.equal(again.table.size, 1, "an older control was believed");
});

test("what is no message costs the peer its link and nothing else", async () => {
  const broken = [
    Buffer.from([0, 0, 0, 0, 1]),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 1]),
    encodeFrame(20, Buffer.from([0x92, 0x01])),
    encodeFrame(20, Buffer.alloc(0)),
  ];
  const closed: Promise<unknown>[] = [];
  await listen((socket) => {
    const link = new Link(socket);
    closed.push(new Promise<void>((resolve) => (link.onClose = resolve)));
  });
  for (const bytes of broken) {
    const socket = net.connect(file);
    socket.on("error", () => {});
    socket.write(bytes);
    await once(socket, "close");
  }
  await Promise.all(closed);
  assert.equal(closed.length, broken.length);
  assert.ok(CONTROL_FRAME_LIMIT < 0xffffffff);
});

test("a stream's first frame names it, and every byte behind it arrives; other connections stay links", async () => {
  const streams: { id: string; socket: net.Socket }[] = [];
  const messages: unknown[] = [];
  let arrived: () => void = () => {};
  await listen((socket) =>
    sortConnection(
      socket,
      (id, stream) => {
        streams.push({ id, socket: stream });
        arrived();
      },
      (plain) => {
        const link = new Link(plain);
        link.onMessage = (_kind, message) => {
          messages.push(message);
          arrived();
        };
        plain.resume();
      },
    ),
  );
  const opened = new Promise<void>((resolve) => (arrived = resolve));
  const stream = await openStream(file, "secret-id");
  stream.end("raw bytes");
  await opened;
  assert.equal(streams[0]!.id, "secret-id");
  let text = "";
  for await (const chunk of streams[0]!.socket) text += chunk;
  assert.equal(text, "raw bytes");
  const told = new Promise<void>((resolve) => (arrived = resolve));
  const link = new ReconnectingLink(file, {
    onOpen: (open) => void open.send(20, { hello: 1 }),
    onMessage: () => {},
  });
  await told;
  link.close();
  assert.deepEqual(messages, [{ hello: 1 }]);
  for (const bytes of [
    encodeFrame(STREAM_OPEN, Buffer.from([0x92, 0x01])),
    Buffer.from([0, 0, 0, 0, STREAM_OPEN]),
  ]) {
    const broken = net.connect(file);
    broken.on("error", () => {});
    broken.write(bytes);
    await once(broken, "close");
  }
});
