import assert from "node:assert/strict";
import { test } from "node:test";
import { ChunkedReader } from "../../src/edge/chunked.ts";

/** Feeds `parts`; gives the body, and where in the last part the coding ended. */
function decode(parts: string[]): { body: string; reader: ChunkedReader; rest: string } {
  const reader = new ChunkedReader();
  let body = "";
  let rest = "";
  for (const part of parts) {
    const bytes = Buffer.from(part, "latin1");
    let at = 0;
    while (at < bytes.length && !reader.done && !reader.broken) {
      at = reader.read(bytes, at, bytes.length);
      body += bytes.toString("latin1", reader.from, reader.to);
    }
    rest = part.slice(at);
  }
  return { body, reader, rest };
}

const CODED = "5\r\nhello\r\nA;name=value\r\n, world!!\n\r\n0\r\nTrailer: x\r\n\r\n";

test("a chunked body cut at any byte is the same body", () => {
  for (let cut = 0; cut <= CODED.length; cut++) {
    const { body, reader } = decode([CODED.slice(0, cut), CODED.slice(cut)]);
    assert.equal(body, "hello, world!!\n", `cut at ${cut}`);
    assert.equal(reader.done, true);
  }
  const { body, reader } = decode([...CODED]);
  assert.equal(body, "hello, world!!\n");
  assert.equal(reader.done, true);
});

test("what follows the last chunk is left alone", () => {
  assert.equal(decode([`${CODED}HTTP/1.1`]).rest, "HTTP/1.1");
});

for (const bad of [
  "x\r\n",
  "\r\nhello",
  "-5\r\nhello\r\n",
  "5\nhello\r\n",
  "5\r\nhelloX\r\n",
  "5\r\nhello\rX",
  "ffffffffffffff\r\n",
  `5;${"e".repeat(9000)}`,
  `0\r\n${"t".repeat(9000)}`,
]) {
  test(`refused: ${JSON.stringify(bad.slice(0, 20))}`, () => {
    assert.equal(decode([bad]).reader.broken, true);
  });
}
