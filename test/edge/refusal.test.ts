import assert from "node:assert/strict";
import { contract, get } from "./harness.ts";

/** What the edge must not let through, each by its own status or a closed connection. */
const cases: [name: string, request: string, statuses: number[]][] = [
  [
    "two different lengths",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    [400],
  ],
  ["a list of lengths", "POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 15,24\r\n\r\nab", [400]],
  [
    "length and coding",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    [400],
  ],
  [
    "coding and length",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    [400],
  ],
  [
    "xchunked",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    [400, 501],
  ],
  [
    "gzip, chunked",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    [400, 501],
  ],
  [
    "two codings",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    [400, 501],
  ],
  ["a signed length", "POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: +4\r\n\r\nabcd", [400]],
  [
    "a bad chunk size",
    "POST / HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n",
    [400],
  ],
  ["two hosts", "GET / HTTP/1.1\r\nHost: hello.test\r\nHost: other.test\r\n\r\n", [400]],
  ["an empty host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", [400]],
  ["91 header fields", get("/", ...Array.from({ length: 90 }, (_, i) => `X-${i}: a`)), [431]],
  ["a header line of 9 KB", get("/", `X-A: ${"a".repeat(9000)}`), [400, 431]],
  ["a request line of 9 KB", get(`/${"a".repeat(9000)}`), [400, 431]],
  [
    "a head of 100 KB",
    get("/", ...Array.from({ length: 20 }, (_, i) => `X-${i}: ${"a".repeat(5000)}`)),
    [400, 431],
  ],
  ["CONNECT", "CONNECT hello.test:80 HTTP/1.1\r\nHost: hello.test\r\n\r\n", [400, 501, 505]],
  ["an unknown Expect", get("/", "Expect: a-miracle"), [417]],
  ["bare LF", "GET / HTTP/1.1\nHost: hello.test\n\n", [400, 505]],
  ["HTTP/1.0", "GET / HTTP/1.0\r\nHost: hello.test\r\n\r\n", [400, 505]],
  [
    "a bare LF in a value",
    "GET / HTTP/1.1\r\nHost: hello.test\r\nX-A: b\nTransfer-Encoding: chunked\r\n\r\n",
    [400],
  ],
  ["a bare CR in a value", "GET / HTTP/1.1\r\nHost: hello.test\r\nX-A: b\rX-C: d\r\n\r\n", [400]],
  ["a control character", "GET / HTTP/1.1\r\nHost: hello.test\r\nX-A: b\x01\r\n\r\n", [400]],
];

contract("bad requests are refused and never reach a dyno", async (scene) => {
  const dyno = await scene.dyno();
  dyno.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await scene.route([dyno.route]);
  // Some are not answered by the library before its own 10 s are over, so all wait together.
  await Promise.all(
    cases.map(async ([name, request, statuses]) => {
      const client = scene.client();
      client.write(request);
      await client.closed();
      const answer = client.received.toString("latin1");
      // Nothing at all is allowed: a closed connection.
      if (answer !== "") assert.ok(statuses.includes(Number(answer.slice(9, 12))), `${name}: ${answer}`);
    }),
  );
  assert.equal(dyno.sockets.length, 0, "one of them reached the dyno");
  const client = scene.client();
  client.write(get("/"));
  assert.match(await client.head(), / 200 OK/);
});

contract("a repeated equal length is merged, 90 fields pass", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  const many = Array.from({ length: 86 }, (_, i) => `X-${i}: a\r\n`).join("");
  client.write(
    `POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 4\r\nContent-Length: 4\r\n${many}\r\nabcd`,
  );
  const connection = await dyno.next();
  const head = await connection.head();
  assert.equal(head.match(/content-length: 4\r\n/gi)?.length, 1);
  assert.equal((await connection.take(4)).toString(), "abcd");
});
