import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import tls from "node:tls";
import { drainSettings, get, House, Tail } from "./house.ts";

/** Takes octet-counted messages apart. */
function messages(bytes: Buffer): string[] {
  const out: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(32, at);
    const length = Number(bytes.toString("latin1", at, space));
    assert.ok(length > 0, `no length at ${at}: ${bytes.toString("latin1", at, at + 40)}`);
    if (space + 1 + length > bytes.length) break;
    out.push(bytes.toString("utf8", space + 1, space + 1 + length));
    at = space + 1 + length;
  }
  return out;
}

interface Post {
  headers: http.IncomingHttpHeaders;
  url: string;
  body: Buffer;
}

/** A real HTTP drain: `answer` decides what each POST gets. */
class HttpSink {
  posts: Post[] = [];
  answer: (post: Post, response: http.ServerResponse) => void = (_post, response) =>
    response.writeHead(204).end();
  server: http.Server;
  connections = 0;
  #changed: (() => void)[] = [];

  constructor(secure: { key: string; cert: string } | null = null) {
    const onRequest = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
      const parts: Buffer[] = [];
      try {
        for await (const part of request) parts.push(part as Buffer);
      } catch {
        return;
      }
      const post = { headers: request.headers, url: request.url!, body: Buffer.concat(parts) };
      this.posts.push(post);
      this.answer(post, response);
      for (const changed of this.#changed.splice(0)) changed();
    };
    this.server = secure ? https.createServer(secure, onRequest) : http.createServer(onRequest);
    this.server.on(secure ? "secureConnection" : "connection", () => {
      this.connections += 1;
    });
  }

  async listen(port = 0): Promise<number> {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    return (this.server.address() as net.AddressInfo).port;
  }

  get messages(): string[] {
    return this.posts.flatMap(({ body }) => messages(body));
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** A real syslog sink over TCP or TLS. */
class SyslogSink {
  bytes = Buffer.alloc(0);
  server: net.Server;
  sockets: net.Socket[] = [];
  paused = false;
  #changed: (() => void)[] = [];

  constructor(secure: { key: string; cert: string } | null = null) {
    const take = (socket: net.Socket): void => {
      this.sockets.push(socket);
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        this.bytes = Buffer.concat([this.bytes, chunk]);
        this.wake();
      });
      if (this.paused) socket.pause();
      this.wake();
    };
    this.server = secure ? tls.createServer(secure, take) : net.createServer(take);
  }

  wake(): void {
    for (const changed of this.#changed.splice(0)) changed();
  }

  async listen(port = 0): Promise<number> {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    return (this.server.address() as net.AddressInfo).port;
  }

  get messages(): string[] {
    return messages(this.bytes);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

/** A self-signed pair for 127.0.0.1. */
function certificate(): { key: string; cert: string } {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-cert-"));
  const key = path.join(folder, "key");
  const cert = path.join(folder, "cert");
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "2",
  ];
  execFileSync("openssl", [...made, "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
  const pair = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  rmSync(folder, { recursive: true });
  return pair;
}

const STAMP = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00`;
let house: House;
let sinks: { close(): void }[] = [];
const sink = <S extends { close(): void }>(made: S): S => {
  sinks.push(made);
  return made;
};

beforeEach(() => {
  house = new House();
  sinks = [];
});
afterEach(async () => {
  await house.close();
  for (const made of sinks) made.close();
});

test("an HTTP drain gets Heroku's request and frames, on one kept connection", async () => {
  const http = sink(new HttpSink());
  const port = await http.listen();
  const drain = drainSettings(`http://user:p%40ss@127.0.0.1:${port}/logs?a=b`);
  await house.start();
  await house.app("hello", { drains: [drain] });
  await house.lines("hello", ["first", "", "zweite Zeile: ä"]);
  await http.until(() => http.messages.length >= 3);
  await house.lines("hello", ["fourth"]);
  await http.until(() => http.messages.length >= 4);
  const [post] = http.posts;
  assert.equal(post!.url, "/logs?a=b");
  assert.equal(post!.headers.host, `127.0.0.1:${port}`);
  assert.equal(post!.headers.authorization, `Basic ${Buffer.from("user:p@ss").toString("base64")}`);
  assert.equal(post!.headers["content-type"], "application/logplex-1");
  assert.equal(post!.headers["logplex-drain-token"], drain.token);
  assert.match(post!.headers["logplex-frame-id"] as string, /^[0-9A-F]{32}$/);
  assert.match(post!.headers["user-agent"]!, /^Logplex\//);
  for (const { headers, body } of http.posts) {
    assert.equal(headers["logplex-msg-count"], String(messages(body).length));
    assert.equal(headers["content-length"], String(body.length));
  }
  const expected = ["first", "", "zweite Zeile: ä", "fourth"];
  http.messages.forEach((message, i) => {
    assert.match(message, new RegExp(`^<190>1 ${STAMP} host app web\\.1 - ${expected[i]}\n$`));
  });
  assert.equal(http.connections, 1);
});

test("a frame that fails is sent again under its id, three times in all, then counted with an L10", async () => {
  const http = sink(new HttpSink());
  const port = await http.listen();
  const drain = drainSettings(`http://127.0.0.1:${port}/`);
  await house.start();
  await house.app("hello", { drains: [drain] });
  http.answer = (_post, response) => response.writeHead(500).end("no");
  await house.lines("hello", ["lost 1", "lost 2"]);
  await http.until(() => http.posts.length === 3);
  assert.equal(new Set(http.posts.map(({ headers }) => headers["logplex-frame-id"])).size, 1);
  http.answer = (_post, response) => response.writeHead(200).end("ok");
  await house.lines("hello", ["kept"]);
  await http.until(
    () => http.posts.length >= 4 && http.messages.some((message) => message.endsWith("kept\n")),
  );
  const after = messages(Buffer.concat(http.posts.slice(3).map(({ body }) => body)));
  assert.match(
    after[0]!,
    new RegExp(
      `^<172>1 ${STAMP} host heroku logplex - Error L10 \\(output buffer overflow\\): 2 messages dropped since ${STAMP}\\.$`,
    ),
  );
  const tail = await Tail.open(await house.session("hello", { tail: true }));
  await tail.until((text) => text.includes("L10"));
  assert.match(
    tail.text,
    new RegExp(
      `heroku\\[logplex\\]: Error L10 \\(output buffer overflow\\): drain '${drain.token}' dropped 2 messages since ${STAMP}\\.\n`,
    ),
  );
  tail.close();
});

test("a refused frame (4xx) is not sent again; a 429 is", async () => {
  const http = sink(new HttpSink());
  const port = await http.listen();
  await house.start();
  await house.app("hello", { drains: [drainSettings(`http://127.0.0.1:${port}/`)] });
  const statuses = [403, 429, 302];
  http.answer = (_post, response) => response.writeHead(statuses.shift() ?? 204, { location: "/else" }).end();
  await house.lines("hello", ["refused"]);
  await http.until(() => http.posts.length >= 1);
  await house.lines("hello", ["again"]);
  await http.until(() => http.posts.length >= 4);
  const ids = http.posts.map(({ headers }) => headers["logplex-frame-id"]);
  assert.notEqual(ids[0], ids[1]);
  assert.equal(ids[1], ids[2]);
  assert.equal(ids[2], ids[3]);
  assert.ok(http.posts.every(({ url }) => url === "/"));
});

test("a syslog drain gets valid RFC 5424, octet counted, with its token as host", async () => {
  const syslog = sink(new SyslogSink());
  const port = await syslog.listen();
  const drain = drainSettings(`syslog://127.0.0.1:${port}`);
  await house.start();
  await house.app("hello", { drains: [drain] });
  await house.lines("hello", ["first", ""]);
  await syslog.until(() => syslog.messages.length === 2);
  assert.match(syslog.messages[0]!, new RegExp(`^<190>1 ${STAMP} ${drain.token} app web\\.1 - - first\n$`));
  assert.match(syslog.messages[1]!, new RegExp(`^<190>1 ${STAMP} ${drain.token} app web\\.1 - - \n$`));
});

test("delivered, told lost and waiting make up what was written, for a drain that stands still", async () => {
  const syslog = sink(new SyslogSink());
  syslog.paused = true;
  const port = await syslog.listen();
  const drain = drainSettings(`syslog://127.0.0.1:${port}`);
  await house.start();
  await house.app("hello", { drains: [drain] });
  await house.lines("hello", ["start"]);
  await syslog.until(() => syslog.sockets.length === 1);
  const batch = Array.from({ length: 2000 }, (_, i) => `${i} ${"x".repeat(800)}`);
  for (let i = 0; i < 10; i += 1) await house.lines("hello", batch);
  syslog.paused = false;
  syslog.sockets[0]!.resume();
  await house.lines("hello", ["end"]);
  await syslog.until(() => syslog.bytes.includes("- - end\n"));
  const all = syslog.messages;
  const told = all.flatMap(
    (message) => /Error L10 .*: (\d+) messages dropped since/.exec(message)?.[1] ?? [],
  );
  assert.ok(told.length > 0);
  const dropped = told.reduce((sum, count) => sum + Number(count), 0);
  // L10 lines of the app's own stream are lines of the app too.
  const own = all.filter((message) => message.includes("drain 'd.")).length;
  const seen = all.filter((message) => message.includes(" app web.1 ")).length;
  const answer = await get(await house.session("hello", { lines: 1500, source: "heroku" }));
  const ownLost = (answer.body.match(/drain 'd\./g)?.length ?? 0) - own;
  assert.ok(seen + dropped >= 20_002, `${seen} + ${dropped}`);
  assert.ok(seen + dropped <= 20_002 + 10 + ownLost, `${seen} + ${dropped}, ${ownLost}`);
});

test("https and syslog+tls: the certificate is checked, and L14 says so when it is bad", async () => {
  const pair = certificate();
  const secure = sink(new HttpSink(pair));
  const syslog = sink(new SyslogSink(pair));
  const ports = [await secure.listen(), await syslog.listen()];
  const drains = [
    drainSettings(`https://127.0.0.1:${ports[0]}/x`),
    drainSettings(`syslog+tls://127.0.0.1:${ports[1]}/`),
  ];
  await house.start({ ca: pair.cert });
  await house.app("hello", { drains });
  await house.lines("hello", ["over TLS"]);
  await secure.until(() => secure.messages.length > 0);
  await syslog.until(() => syslog.messages.length > 0);
  assert.match(secure.messages[0]!, /host app web\.1 - over TLS\n$/);
  assert.match(syslog.messages[0]!, /app web\.1 - - over TLS\n$/);

  await house.stop();
  await house.start();
  const tail = await Tail.open(await house.session("hello", { tail: true }));
  await house.lines("hello", ["to nobody"]);
  const l14 = (uri: string): string =>
    `heroku[logplex]: Error L14 (certificate validation): error="bad certificate" uri="${uri}"`;
  await tail.until((text) => text.includes(l14(`https://127.0.0.1:${ports[0]}/`)));
  await tail.until((text) => text.includes(l14(`syslog+tls://127.0.0.1:${ports[1]}/`)));
  assert.equal(secure.messages.filter((message) => message.includes("to nobody")).length, 0);
  tail.close();
});

test("a drain at a private address gets nothing unless the operator allows it", async () => {
  await house.close();
  house = new House({ SLUICE_DRAIN_ALLOW_PRIVATE: "0" });
  const syslog = sink(new SyslogSink());
  const port = await syslog.listen();
  await house.start();
  await house.app("hello", { drains: [drainSettings(`syslog://localhost:${port}`)] });
  const tail = await Tail.open(await house.session("hello", { tail: true }));
  await house.lines("hello", ["secret"]);
  await tail.until((text) => text.includes("SLUICE_DRAIN_ALLOW_PRIVATE=1"));
  assert.equal(syslog.sockets.length, 0);
  tail.close();
});

test("what a drain had not got when the Logplex stopped, it gets from the next one, once", async () => {
  const http = sink(new HttpSink());
  const port = await http.listen();
  http.close();
  await house.start();
  await house.app("hello", { drains: [drainSettings(`http://127.0.0.1:${port}/`)] });
  await house.lines("hello", ["one", "two", "three"]);
  await house.stop();
  const back = sink(new HttpSink());
  await back.listen(port);
  await house.start();
  await back.until(() => back.messages.length >= 3);
  await house.lines("hello", ["four"]);
  await back.until(() => back.messages.length >= 4);
  assert.deepEqual(
    back.messages.map((message) => /- (.*)\n$/.exec(message)?.[1]),
    ["one", "two", "three", "four"],
  );
});

test("a drain that never answers holds up neither another drain nor another app", async () => {
  const dead = sink(new HttpSink());
  dead.answer = () => {};
  const alive = sink(new HttpSink());
  const urls = [`http://127.0.0.1:${await dead.listen()}/`, `http://127.0.0.1:${await alive.listen()}/`];
  await house.start();
  await house.app("hello", { drains: [drainSettings(urls[0]!), drainSettings(urls[1]!)] });
  await house.lines("hello", ["a"]);
  await dead.until(() => dead.posts.length === 1);
  await house.lines("hello", ["b"]);
  await alive.until(() => alive.messages.length === 2);
  assert.equal(dead.posts.length, 1);
});
