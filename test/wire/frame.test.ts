import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeFrame, FrameError, FrameReader } from "../../src/wire/frame.ts";

test("frames come out the same wherever the stream is cut", () => {
  const bodies = ["", "a", "hello", "x".repeat(3000), "", "end"].map((text) => Buffer.from(text));
  const stream = Buffer.concat(bodies.map((body, kind) => encodeFrame(kind, body)));
  for (let size = 1; size < 50; size += 1) {
    const seen: [number, string][] = [];
    const reader = new FrameReader(4000, (kind, body) => seen.push([kind, body.toString()]));
    for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
    assert.deepEqual(
      seen,
      bodies.map((body, kind) => [kind, body.toString()]),
      `cut every ${size} bytes`,
    );
  }
});

test("a length of zero or above the limit is refused before memory is taken, in one piece or byte by byte", () => {
  for (const length of [0, 101, 0xffffffff]) {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(length);
    assert.throws(() => new FrameReader(100, () => {}).push(head), FrameError);
    const reader = new FrameReader(100, () => {});
    assert.throws(() => {
      for (const byte of head) reader.push(Buffer.from([byte]));
    }, FrameError);
  }
  let seen = 0;
  new FrameReader(100, (_kind, body) => {
    seen = body.length;
  }).push(encodeFrame(1, Buffer.alloc(99)));
  assert.equal(seen, 99);
});
