import assert from "node:assert/strict";
import { test } from "node:test";
import { ExitMarker } from "../../src/cli/exit-marker.ts";

const MARK = "\uFFFF heroku-command-exit-status: ";

function through(chunks: Buffer[]): { text: string; status: number | null } {
  const marker = new ExitMarker();
  const parts = chunks.map((chunk) => marker.push(chunk));
  parts.push(marker.end());
  return { text: Buffer.concat(parts).toString("utf8"), status: marker.status };
}

test("the status is taken out, wherever the reads cut the mark", () => {
  for (const status of [0, 7, 130]) {
    const bytes = Buffer.from(`out\r\n${MARK}${status}\r\n`);
    for (let cut = 1; cut < bytes.length; cut++) {
      assert.deepEqual(through([bytes.subarray(0, cut), bytes.subarray(cut)]), { text: "out\r\n", status });
    }
    assert.deepEqual(through([...bytes].map((byte) => Buffer.from([byte]))), { text: "out\r\n", status });
  }
});

test("output without a mark comes whole, and told no status", () => {
  for (const text of ["", "plain", "\uFFFF heroku-command", "half \uFFFF", `${MARK}x and more`]) {
    const bytes = Buffer.from(text);
    const { status } = through([bytes]);
    assert.equal(status, null, text);
  }
  assert.equal(through([Buffer.from("\uFFFF heroku-command")]).text, "\uFFFF heroku-command");
});

test("bytes that are no text pass unchanged", () => {
  const bytes = Buffer.from([0, 255, 239, 191, 0, 239, 191, 191, 33, 128]);
  const marker = new ExitMarker();
  assert.deepEqual(Buffer.concat([marker.push(bytes), marker.end()]), bytes);
});

test("a mark that the command prints amid its output is not the end", () => {
  const result = through([Buffer.from(`a ${MARK}3\nthen much more output\n`), Buffer.from(`${MARK}5\n`)]);
  assert.equal(result.status, 5);
  assert.match(result.text, /then much more output/);
});
