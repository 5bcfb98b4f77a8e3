import assert from "node:assert/strict";
import { test } from "node:test";
import { RingReader } from "../../src/logplex/reader.ts";
import { BROKEN, Ring } from "../../src/logplex/ring.ts";
import {
  BATCH_HEAD,
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../../src/wire/log-batch.ts";
import { LINE_LIMIT, Source } from "../../src/wire/source.ts";

/** A repeatable stream of numbers below `below`. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Line {
  app: number;
  text: string;
  micros: number;
  source: number;
}

/** A batch of records as a sender makes it, behind `BATCH_HEAD` bytes. */
function batch(lines: Line[]): Buffer {
  const parts = [Buffer.alloc(BATCH_HEAD)];
  for (const { app, text, micros, source } of lines) {
    const record = Buffer.alloc(RECORD_HEAD + text.length);
    record.writeUInt32BE(app, 0);
    record.writeUInt32BE(0, RECORD_PROCESS);
    record[RECORD_SOURCE] = source;
    record.writeDoubleBE(micros, RECORD_MICROS);
    record.writeUInt32BE(text.length, RECORD_LENGTH);
    record.write(text, RECORD_HEAD, "latin1");
    parts.push(record);
  }
  return Buffer.concat(parts);
}

const take = (ring: Ring, bytes: Buffer, from: number, app: number, most = 1e9, allowed = 0xff): number =>
  ring.take(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), from, app, [7], allowed, most);

for (const [maxLines, maxBytes] of [
  [1500, 4 * 1024 * 1024],
  [10, 64 * 1024],
  [1500, 40_000],
  [3, 1_000_000],
] as const) {
  test(`whatever is written, the ring holds exactly the last lines (${maxLines} lines, ${maxBytes} bytes)`, () => {
    const random = numbers(maxLines + maxBytes);
    const ring = new Ring(maxLines, maxBytes);
    const all: Line[] = [];
    for (let turn = 0; turn < 400; turn += 1) {
      const lines = Array.from({ length: random(40) }, (_, i) => ({
        app: 3,
        text: String.fromCharCode(97 + random(26)).repeat(
          random(20) === 0 ? random(LINE_LIMIT + 1) : random(200),
        ),
        micros: turn * 1000 + i,
        source: random(3),
      }));
      const bytes = batch(lines);
      if (random(4) === 0) {
        for (const { text, micros, source } of lines)
          ring.write(7, source as Source, micros, Buffer.from(text));
      } else {
        let at = BATCH_HEAD;
        while (at < bytes.length) at = take(ring, bytes, at, 3, 1 + random(30));
        assert.equal(at, bytes.length);
      }
      all.push(...lines);
      assert.equal(ring.next, all.length);
      const held = ring.next - ring.first;
      assert.ok(held <= maxLines && (all.length === 0 || held >= 1));
      for (let line = ring.first; line < ring.next; line += 1) {
        const expected = all[line]!;
        const text = ring.text(line);
        if (text.length !== expected.text.length || text.toString("latin1") !== expected.text) {
          assert.fail(`line ${line} of ${ring.first}…${ring.next} is not what was written`);
        }
        assert.equal(ring.micros(line), expected.micros);
        assert.equal(ring.source(line), expected.source);
        assert.equal(ring.process(line), 7);
      }
      assert.ok(ring.size <= Math.max(32 * 1024, maxBytes));
    }
    // It holds as many as its bounds allow: one more would not fit, by lines or by bytes.
    const size = (line: number): number => RECORD_HEAD + all[line]!.text.length;
    let bytes = 0;
    for (let line = ring.first; line < ring.next; line += 1) bytes += size(line);
    const full =
      ring.next - ring.first === maxLines || bytes + size(ring.first - 1) + LINE_LIMIT * 2 > maxBytes;
    assert.ok(full || ring.first === 0);
  });
}

test("bounds can change while lines are held: the newest stay", () => {
  const ring = new Ring(1000, 1_000_000);
  for (let i = 0; i < 1000; i += 1)
    ring.write(0, Source.Dyno, i, Buffer.from(`line ${i} ${"x".repeat(500)}`));
  ring.resize(100, 1_000_000);
  assert.equal(ring.next - ring.first, 100);
  ring.resize(1000, 33_000);
  assert.ok(ring.first > 900);
  assert.match(ring.text(ring.next - 1).toString(), /^line 999 /);
  for (let i = 1000; i < 3000; i += 1) ring.write(0, Source.Dyno, i, Buffer.from(`line ${i}`));
  assert.equal(ring.text(ring.first).toString(), `line ${ring.micros(ring.first)}`);
  assert.equal(ring.next - ring.first, 1000);
});

test("sources that are not allowed are left out and counted; the lines around them are whole", () => {
  const ring = new Ring(100, 100_000);
  const bytes = batch(
    [0, 1, 0, 0, 5, 0].map((source, i) => ({ app: 1, text: `line ${i}`, micros: i, source })),
  );
  assert.equal(take(ring, bytes, BATCH_HEAD, 1, 1e9, 1), bytes.length);
  assert.equal(ring.refused, 2);
  assert.deepEqual(
    [0, 1, 2, 3].map((line) => ring.text(line).toString()),
    ["line 0", "line 2", "line 3", "line 5"],
  );
});

test("broken records end the batch, never the process", () => {
  const good = batch([{ app: 1, text: "good", micros: 1, source: 0 }]);
  const short = good.subarray(0, good.length - 1);
  assert.equal(take(new Ring(10, 1), short, BATCH_HEAD, 1), BROKEN);
  const long = Buffer.from(good);
  long.writeUInt32BE(0xffffffff, BATCH_HEAD + RECORD_LENGTH);
  assert.equal(take(new Ring(10, 1), long, BATCH_HEAD, 1), BROKEN);
  const unnamed = Buffer.from(good);
  unnamed.writeUInt32BE(99, BATCH_HEAD + RECORD_PROCESS);
  assert.equal(take(new Ring(10, 1), unnamed, BATCH_HEAD, 1), BROKEN);
});

test("a reader's account always adds up: taken + lost + waiting = written", () => {
  const random = numbers(5);
  const ring = new Ring(200, 50_000);
  const readers = [new RingReader(ring, 50, 0), new RingReader(ring, 1024, 0), new RingReader(ring, 10, 0)];
  const taken = [0, 0, 0];
  const told = [0, 0, 0];
  for (let turn = 0; turn < 2000; turn += 1) {
    for (let i = random(60); i > 0; i -= 1) ring.write(0, Source.Dyno, turn, Buffer.alloc(random(900)));
    readers.forEach((reader, i) => {
      for (let n = random(40); n > 0 && reader.waiting > 0; n -= 1) {
        reader.cursor += 1;
        taken[i]! += 1;
      }
      if (random(3) === 0) told[i]! += reader.takeLoss()?.count ?? 0;
      const { waiting } = reader;
      assert.ok(waiting <= reader.bound);
      assert.equal(taken[i]! + reader.lostEver + waiting, ring.next);
      assert.equal(told[i]! + reader.loss.count, reader.lostEver);
    });
  }
});
