import assert from "node:assert/strict";
import { test } from "node:test";
import { AnswerHead, BROKEN, INCOMPLETE } from "../../src/edge/answer-head.ts";

const read = (text: string): { head: AnswerHead; result: number; copy: string } => {
  const head = new AnswerHead();
  const bytes = Buffer.from(text, "latin1");
  const result = head.read(bytes, 0, bytes.length);
  return { head, result, copy: head.copy.toString("latin1", 0, head.copied) };
};

test("a head goes to the client without hop-by-hop fields, framing and Date", () => {
  const text =
    "HTTP/1.1 200 OK\r\nDate: now\r\nConnection: keep-alive\r\nX-A: b\r\nKeep-Alive: timeout=5\r\n" +
    "Content-Length: 12\r\nX-C: d\xe9\r\nProxy-Authorization: x\r\nTE: x\r\n\r\n";
  const { head, result, copy } = read(text);
  assert.equal(result, text.length);
  assert.equal(copy, "200 OK\r\nX-A: b\r\nX-C: d\xe9");
  assert.equal(head.length, 12);
  assert.equal(head.keepAlive, true);
});

test("a head cut at any byte is incomplete, never broken and never read short", () => {
  const text = "HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n";
  for (let cut = 0; cut < text.length; cut++) {
    assert.equal(read(text.slice(0, cut)).result, INCOMPLETE, `cut at ${cut}`);
  }
  const { head, result, copy } = read(`${text}body`);
  assert.equal(result, text.length);
  assert.equal(head.chunked, true);
  assert.equal(head.hasServer, true);
  assert.equal(copy, "404 Not Found\r\nSet-Cookie: a=b\r\nServer: x");
});

test("what is said of the connection is understood in both versions", () => {
  assert.equal(read("HTTP/1.0 200 OK\r\n\r\n").head.keepAlive, false);
  assert.equal(read("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n").head.keepAlive, true);
  assert.equal(read("HTTP/1.1 200 OK\r\n\r\n").head.keepAlive, true);
  assert.equal(read("HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n").head.keepAlive, false);
});

const broken: [string, string, string][] = [
  ["no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "H17"],
  ["no reason phrase", "HTTP/1.1 200\r\n\r\n", "H17"],
  ["a status of two digits", "HTTP/1.1 20 Okay then\r\n\r\n", "H17"],
  ["a bare LF", "HTTP/1.1 200 OK\nA: b\n\n", "H17"],
  ["a bare LF in a field", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "H17"],
  ["a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "H17"],
  ["a space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "H17"],
  ["a line without colon", "HTTP/1.1 200 OK\r\nhello\r\n\r\n", "H17"],
  ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "H17"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "H25"],
  ["a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n\r\n", "H25"],
  ["a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "H25"],
  ["a cookie too long", `HTTP/1.1 200 OK\r\nSet-Cookie: ${"c".repeat(9000)}\r\n\r\n`, "H25"],
  ["a status line too long", `HTTP/1.1 200 ${"o".repeat(9000)}\r\n\r\n`, "H25"],
  ["a header line too long", `HTTP/1.1 200 OK\r\nA: ${"b".repeat(520 * 1024)}\r\n\r\n`, "H25"],
];
for (const [name, text, code] of broken) {
  test(`refused: ${name}`, () => {
    const { head, result } = read(text);
    assert.equal(result, BROKEN);
    assert.equal(head.problem?.code, code);
  });
}

test("a long head that is allowed is copied whole", () => {
  const value = "v".repeat(300 * 1024);
  const { result, copy } = read(`HTTP/1.1 200 OK\r\nA: ${value}\r\nDate: x\r\nB: c\r\n\r\n`);
  assert.ok(result > 0);
  assert.equal(copy, `200 OK\r\nA: ${value}\r\nB: c`);
});

test("equal repeated lengths are one", () => {
  assert.equal(read("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n").head.length, 7);
});
