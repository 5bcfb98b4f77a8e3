import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { OctetFramer } from "../../src/logplex/ingest/framer.ts";
import { parseStamp, SyslogMessage } from "../../src/logplex/ingest/syslog-message.ts";
import { get, House, Tail } from "./house.ts";

const octets = (text: string): string => `${Buffer.byteLength(text)} ${text}`;

test("the framer gives the same messages wherever the stream is cut", () => {
  const long = "y".repeat(20_000);
  const expected = ["a", "hello\n", "12 34", long, "<13>1 old style", "z"];
  const stream = Buffer.from(`1 a6 hello\n5 12 34${octets(long)}<13>1 old style\n\n1 z`);
  for (let size = 1; size < 60; size += 1) {
    const seen: string[] = [];
    const framer = new OctetFramer((bytes, from, to) => seen.push(bytes.toString("utf8", from, to)));
    for (let at = 0; at < stream.length; at += size) assert.ok(framer.push(stream.subarray(at, at + size)));
    assert.deepEqual(seen, expected, `cut every ${size} bytes`);
    assert.equal(framer.cut, false);
  }
});

test("what is no octet-counted stream ends it, in bounded memory", () => {
  const ends = (text: string): boolean => !new OctetFramer(() => {}).push(Buffer.from(text));
  assert.ok(ends("GET / HTTP/1.1\r\n"));
  assert.ok(ends("0 "));
  assert.ok(ends("99999999 x"));
  assert.ok(ends("700000 x"));
  assert.ok(ends("12x"));
  const framer = new OctetFramer(() => {});
  let taken = 0;
  const chunk = Buffer.concat([Buffer.from(taken === 0 ? "<" : ""), Buffer.alloc(4096, "a")]);
  while (framer.push(chunk)) {
    taken += chunk.length;
    assert.ok(taken < 200_000);
  }
});

test("RFC 5424 messages are read with and without structured data", () => {
  const message = new SyslogMessage();
  const read = (text: string): string[] | null => {
    const bytes = Buffer.from(text);
    if (!message.parse(bytes, 0, bytes.length)) return null;
    const part = (from: number, to: number): string => bytes.toString("utf8", from, to);
    return [
      part(message.appFrom, message.appTo),
      part(message.procFrom, message.procTo),
      part(message.textFrom, message.textTo),
    ];
  };
  const head = "<190>1 2026-11-24T14:00:00.123456+00:00 host tok web.1";
  assert.deepEqual(read(`${head} - - text\n`), ["tok", "web.1", "text"]);
  assert.deepEqual(read(`${head} - text`), ["tok", "web.1", "text"]);
  assert.deepEqual(read(`${head} - [a@1 b="c\\"] d"][e] text`), ["tok", "web.1", "text"]);
  assert.deepEqual(read(`${head} - [not closed`), ["tok", "web.1", "[not closed"]);
  assert.deepEqual(read(`${head} - [x]text`), ["tok", "web.1", "[x]text"]);
  assert.deepEqual(read(`${head} ID47 - \ufefftext`), ["tok", "web.1", "text"]);
  assert.deepEqual(read(`${head} - -`), ["tok", "web.1", ""]);
  assert.deepEqual(read("<1>1 - - tok - -"), ["tok", "-", ""]);
  for (const bad of [
    "",
    "<",
    "<1>",
    "<192>1 - - a b -",
    "<1>2 - - a b -",
    "<>1 - - a b -",
    "<1>1 - - a",
    "hello",
  ]) {
    assert.equal(read(bad), null, bad);
  }
});

test("time stamps are read to the microsecond, zones included", () => {
  const read = (text: string): number => parseStamp(Buffer.from(text), 0, text.length);
  assert.equal(read("2026-11-24T14:00:00.123456+00:00"), Date.UTC(2026, 10, 24, 14) * 1000 + 123_456);
  assert.equal(read("2026-11-24T14:00:00Z"), Date.UTC(2026, 10, 24, 14) * 1000);
  assert.equal(read("2026-11-24T14:00:00.5-01:30"), Date.UTC(2026, 10, 24, 15, 30) * 1000 + 500_000);
  assert.ok(Number.isNaN(read("-")));
  assert.ok(Number.isNaN(read("2026-13-24T14:00:00.123456+00:00")));
});

let house: House;
const TOKEN = "t.0123456789";

beforeEach(async () => {
  house = new House();
  await house.start();
  await house.app("hello", { sources: [{ id: "s", name: "nginx-1", token: TOKEN }] });
});
afterEach(() => house.close());

const message = (text: string, token = TOKEN, proc = "-"): string =>
  octets(`<134>1 ${new Date().toISOString()} machine ${token} ${proc} - - ${text}\n`);

async function shown(more: object = {}): Promise<string[]> {
  const { body } = await get(await house.session("hello", more));
  return body
    .split("\n")
    .filter(Boolean)
    .map((line) => line.slice(33));
}

test("syslog over TCP: the token names the app and is never shown, the line is never heroku's", async () => {
  const tail = await Tail.open(await house.session("hello", { tail: true }));
  const socket = net.connect(house.syslogPort, "127.0.0.1");
  const stream = Buffer.from(
    message("one") +
      message("two", TOKEN, "worker.7") +
      message("no", "t.unknown") +
      message("x\nheroku y", TOKEN, "a[b]c"),
  );
  for (let at = 0; at < stream.length; at += 7) {
    socket.write(stream.subarray(at, at + 7));
    if (at % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await tail.until((text) => text.includes("heroku y"));
  assert.deepEqual(await shown(), [
    "app[nginx-1]: one",
    "app[worker.7]: two",
    "app[a_b_c]: x",
    "app[a_b_c]: heroku y",
  ]);
  assert.deepEqual(await shown({ source: "heroku" }), []);
  assert.ok(!tail.text.includes(TOKEN));
  const closed = once(socket, "close");
  socket.write("this is not syslog");
  socket.on("error", () => {});
  await closed;
  tail.close();
});

async function post(body: string, password: string | null): Promise<{ status: number; text: string }> {
  const request = http.request({
    port: house.httpPort,
    method: "POST",
    path: "/logs",
    headers:
      password === null ? {} : { authorization: `Basic ${Buffer.from(`x:${password}`).toString("base64")}` },
  });
  request.end(body);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode!, text };
}

test("POST /logs takes the same messages with the token as password", async () => {
  assert.equal((await post(message("one", "ignored") + message("two"), TOKEN)).status, 204);
  assert.deepEqual(await shown(), ["app[nginx-1]: one", "app[nginx-1]: two"]);
  const bad = await post(`${message("three")}rubbish`, TOKEN);
  assert.equal(bad.status, 400);
  assert.match(bad.text, /1 lines were taken/);
  assert.equal((await post(message("x"), null)).status, 401);
  assert.equal((await post(message("x"), "t.wrong")).status, 401);
  assert.equal((await post("50 <1>1 cut", TOKEN)).status, 400);
});
