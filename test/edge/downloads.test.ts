import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { type DynoSocket, get, stage } from "./harness.ts";

const PIECE = randomBytes(1024 * 1024);
const PIECES = 128;

/** Writes the pieces with back-pressure; `stalled` is called with what was written when nothing is taken for a while. */
async function pour(
  connection: DynoSocket,
  coded: (piece: Buffer) => Buffer[],
  stalled: (written: number) => void,
): Promise<void> {
  for (let i = 0; i < PIECES; i++) {
    let taken = true;
    for (const part of coded(PIECE)) taken = connection.socket.write(part);
    if (taken) continue;
    const stall = setTimeout(stalled, 400, i * PIECE.length);
    await new Promise((resolve) => connection.socket.once("drain", resolve));
    clearTimeout(stall);
  }
}

const expected = createHash("sha256");
for (let i = 0; i < PIECES; i++) expected.update(PIECE);
const EXPECTED = expected.digest("hex");

for (const [name, head, coded, end] of [
  ["with a length", `Content-Length: ${PIECES * PIECE.length}`, (piece: Buffer) => [piece], ""],
  [
    "chunked",
    "Transfer-Encoding: chunked",
    (piece: Buffer) => [Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")],
    "0\r\n\r\n",
  ],
] as const) {
  test(`a client that does not read stops the dyno (${name}); then every byte arrives`, async (t) => {
    const scene = await stage(t);
    const dyno = await scene.dyno();
    await scene.route([dyno.route]);
    const client = scene.client();
    client.socket.pause();
    client.write(get());
    const connection = await dyno.next();
    await connection.head();
    connection.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`);
    let stalledAt = -1;
    const rss = process.memoryUsage().rss;
    let grown = 0;
    const poured = pour(connection, coded, (written) => {
      stalledAt = written;
      grown = process.memoryUsage().rss - rss;
      client.socket.removeAllListeners("data");
      client.socket.on("data", read);
      client.socket.resume();
    });
    // The client's side: takes head and coding off, hashes the rest.
    const hash = createHash("sha256");
    let text = "";
    let left = -1;
    let size = 0;
    let finished!: () => void;
    const whole = new Promise<void>((resolve) => {
      finished = resolve;
    });
    const read = (chunk: Buffer): void => {
      let at = 0;
      if (left < 0) {
        text += chunk.toString("latin1");
        const headEnd = text.indexOf("\r\n\r\n");
        if (headEnd < 0) return;
        at = chunk.length - (text.length - headEnd - 4);
        left = name === "chunked" ? 0 : PIECES * PIECE.length;
        text = "";
      }
      while (at < chunk.length) {
        if (left > 0) {
          const take = Math.min(left, chunk.length - at);
          hash.update(chunk.subarray(at, at + take));
          left -= take;
          at += take;
          size += take;
          if (left === 0 && name !== "chunked") finished();
          continue;
        }
        text += String.fromCharCode(chunk[at++]!);
        const line = text.match(/^(?:\r\n)?([0-9a-f]+)\r\n$/);
        if (!line) continue;
        left = Number.parseInt(line[1]!, 16);
        text = "";
        if (left === 0) finished();
      }
    };
    await poured;
    connection.write(end);
    await whole;
    assert.equal(size, PIECES * PIECE.length);
    assert.equal(hash.digest("hex"), EXPECTED);
    assert.ok(
      stalledAt >= 0 && stalledAt < 64 * 1024 * 1024,
      `the dyno was stopped after ${stalledAt} bytes`,
    );
    assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes of memory for a client that reads nothing`);
    assert.match(await scene.line(), new RegExp(`^at=info .* status=200 bytes=${size} `));
  });
}
