import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { type TestContext, test } from "node:test";
import { Worker } from "node:worker_threads";
import { LATE_ANSWER_LIMIT } from "../../src/edge/limits.ts";
import { EDGE_WAKE } from "../../src/wire/routes.ts";
import { get, type Scene, stage } from "./harness.ts";

/** A port whose listener accepts nobody; `fill` takes the places of its queue, so that a connection waits. */
async function deafPort(t: TestContext): Promise<{ port: number; fill(): Promise<void> }> {
  // A listener in a thread that stands still: the kernel alone answers for it, as long as its queue has room.
  const thread = new Worker(
    `const { parentPort } = require("node:worker_threads");
     const server = require("node:net").createServer();
     server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  t.after(() => thread.terminate());
  const [port] = (await once(thread, "message")) as [number];
  const fill = async (): Promise<void> => {
    // Full when a connection has not come about while another, begun later elsewhere, has.
    const open = net.createServer().listen(0, "127.0.0.1");
    await once(open, "listening");
    t.after(() => open.close());
    for (let full = false; !full; ) {
      const socket = net.connect(port, "127.0.0.1");
      t.after(() => socket.destroy());
      socket.on("error", () => {});
      const marker = net.connect((open.address() as net.AddressInfo).port, "127.0.0.1");
      await once(marker, "connect");
      marker.destroy();
      full = socket.connecting;
    }
  };
  return { port, fill };
}

/** Asks once; gives status and body of the answer. */
async function ask(scene: Scene, request = get()): Promise<{ status: number; body: string; head: string }> {
  const client = scene.client();
  client.write(request);
  const head = await client.head();
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  return { status: Number(head.slice(9, 12)), body: (await client.take(length)).toString(), head };
}

test("a host that no app has: 404, No such app, and no line", async (t) => {
  const scene = await stage(t);
  await scene.route([]);
  const { status, body } = await ask(scene, get().replace("hello.test", "nobody.test"));
  assert.equal(status, 404);
  assert.match(body, /<title>No such app<\/title>/);
  // The next line is that of a request to the app.
  await ask(scene);
  assert.match(await scene.line(), /code=H14/);
});

for (const [state, code, status, title] of [
  ["none", 'at=error code=H14 desc="No web processes running"', 503, "Application Error"],
  ["crashed", 'at=error code=H10 desc="App crashed"', 503, "Application Error"],
  ["maintenance", 'at=info code=H80 desc="Maintenance mode"', 503, "Offline for Maintenance"],
  ["blank", 'at=info code=H81 desc="Blank app"', 502, "Application Error"],
] as const) {
  test(`state ${state}: ${code}`, async (t) => {
    const scene = await stage(t);
    await scene.route([], { state });
    const answer = await ask(scene, get('/a?b="1"', "X-Request-Id: 01234567890123456789"));
    assert.equal(answer.status, status);
    assert.match(answer.body, new RegExp(`<title>${title}</title>`));
    assert.equal(
      await scene.line(),
      `${code} method=GET path="/a?b=%221%22" host=hello.test request_id=01234567890123456789 fwd="127.0.0.1" dyno= connect= service= status=${status} bytes= protocol=http1.1 tls=false`,
    );
  });
}

test("the app's own error and maintenance pages are shown in a frame", async (t) => {
  const scene = await stage(t);
  const pages = { errorPage: "https://e.test/?a=1&b=<", maintenancePage: "http://m.test/" };
  await scene.route([], { state: "crashed", ...pages });
  assert.match((await ask(scene)).body, /<iframe src="https:\/\/e\.test\/\?a=1&amp;b=&lt;"/);
  await scene.route([], { state: "maintenance", ...pages });
  assert.match((await ask(scene)).body, /<iframe src="http:\/\/m\.test\/"/);
  await scene.route([], { state: "crashed", errorPage: "javascript:alert(1)" });
  assert.doesNotMatch((await ask(scene)).body, /javascript/);
});

test("a starting app's request waits, and the wait is counted in connect=", async (t) => {
  const scene = await stage(t);
  await scene.route([], { state: "starting" });
  const answered = ask(scene);
  const dyno = await scene.dyno();
  dyno.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await new Promise((resolve) => setTimeout(resolve, 60));
  await scene.route([dyno.route]);
  assert.equal((await answered).status, 200);
  const line = await scene.line();
  assert.ok(Number(/connect=(\d+)ms/.exec(line)![1]) >= 40, line);
});

test("H20: the boot time is over; H10: the boot failed", async (t) => {
  const scene = await stage(t);
  await scene.route([], { state: "starting", bootSeconds: 0.2 });
  assert.equal((await ask(scene)).status, 503);
  assert.match(
    await scene.line(),
    /^at=error code=H20 desc="App boot timeout" .* dyno= connect= service= status=503 bytes= /,
  );
  const answered = ask(scene);
  await scene.route([], { state: "crashed" });
  assert.equal((await answered).status, 503);
  assert.match(await scene.line(), /code=H10/);
});

test("a sleeping app is woken once, whoever waits", async (t) => {
  const scene = await stage(t);
  await scene.route([], { state: "idle" });
  const answers = [ask(scene), ask(scene), ask(scene)];
  await scene.until(() => scene.messages.some(({ kind }) => kind === EDGE_WAKE));
  const dyno = await scene.dyno();
  dyno.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await scene.route([dyno.route]);
  for (const answer of answers) assert.equal((await answer).status, 200);
  const wakes = scene.messages.filter(({ kind }) => kind === EDGE_WAKE);
  assert.deepEqual(
    wakes.map(({ message }) => message),
    [{ app: "a1" }],
  );
});

test("H11: more open requests than 200 a dyno", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  for (let i = 0; i < 200; i++) scene.client().write(get(`/${i}`));
  while (dyno.sockets.length < 200) await dyno.next();
  await Promise.all(dyno.sockets.map((socket) => socket.head()));
  assert.equal((await ask(scene)).status, 503);
  assert.match(await scene.line(), /^at=error code=H11 desc="Backlog too deep"/);
});

test("H12: no byte in time; the line has connect, service and the page's bytes", async (t) => {
  const scene = await stage(t, { firstByte: 150 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const { status, body } = await ask(scene);
  assert.equal(status, 503);
  assert.match(
    await scene.line(),
    new RegExp(
      `^at=error code=H12 desc="Request timeout" .* dyno=web\\.1 connect=\\d+ms service=1[5-9]\\dms|2\\d\\dms status=503 bytes=${body.length} `,
    ),
  );
});

test("H12: the dyno is not told; its late answer is dropped, up to a bound", async (t) => {
  const scene = await stage(t, { firstByte: 150 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const late = ask(scene);
  const first = await dyno.next();
  await first.head();
  assert.equal((await late).status, 503);
  first.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
  // The next request never sees it: it has a connection of its own.
  const asked = ask(scene);
  const second = await dyno.next();
  await second.head();
  second.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
  assert.equal((await asked).body, "new");
  assert.equal(first.ended, false);
  first.write(Buffer.alloc(LATE_ANSWER_LIMIT));
  await first.closed();
});

test("H12: a late dyno's connection is closed after a while", async (t) => {
  const scene = await stage(t, { firstByte: 100, late: 100 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const late = ask(scene);
  const connection = await dyno.next();
  assert.equal((await late).status, 503);
  await connection.closed();
});

test("H13: closed without a byte; H18: closed in the middle", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const first = ask(scene);
  const one = await dyno.next();
  await one.head();
  one.socket.end();
  assert.equal((await first).status, 503);
  assert.match(await scene.line(), /^at=error code=H13 desc="Connection closed without response" /);

  const client = scene.client();
  client.write(get());
  const two = await dyno.next();
  await two.head();
  two.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  await client.head();
  await client.take(4);
  two.socket.destroy();
  await client.closed();
  assert.match(
    await scene.line(),
    /^sock=backend at=error code=H18 desc="Server Request Interrupted" .* status=200 bytes=4 /,
  );

  const third = ask(scene);
  const three = await dyno.next();
  await three.head();
  three.write("HTTP/1.1 200 OK\r\nContent-");
  three.socket.end();
  assert.equal((await third).status, 503);
  assert.match(await scene.line(), /^sock=backend at=error code=H18 .* status=503 /);
});

test("H15: the dyno stops in mid-answer", async (t) => {
  const scene = await stage(t, { rolling: 150 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  await client.closed();
  assert.match(await scene.line(), /^at=error code=H15 desc="Idle connection" .* status=200 bytes=4 /);
});

test("H28: the client stops in mid-request", async (t) => {
  const scene = await stage(t, { rolling: 150 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write("POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 10\r\n\r\nhalf");
  await client.closed();
  assert.match(await scene.line(), /^at=warning code=H28 desc="Client Connection Idle" .* status=499 /);
});

test("H17 and H25: an answer that breaks the rules", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  for (const [answer, status, line] of [
    ["HTTP/1.1 200\r\n\r\n", 503, /^at=error code=H17 desc="Poorly formatted HTTP response"/],
    [
      "HTTP/1.1 200 OK\r\nContent-Length: 1,2\r\n\r\n",
      502,
      /code=H25 desc="HTTP restriction: invalid content length"/,
    ],
    [
      `HTTP/1.1 200 OK\r\nSet-Cookie: ${"c".repeat(9000)}\r\n\r\n`,
      502,
      /code=H25 desc="HTTP restriction: oversized cookie"/,
    ],
  ] as const) {
    const asked = ask(scene);
    const connection = await dyno.next();
    await connection.head();
    connection.write(answer);
    assert.equal((await asked).status, status);
    assert.match(await scene.line(), line);
    await connection.closed();
  }
});

/** A port that nobody listens on. */
async function deadPort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("H21: refused; the next dyno is asked before, and the refusing one left alone", async (t) => {
  const scene = await stage(t, { quarantine: 60_000 });
  const dead = { id: "dead", name: "web.2", address: "127.0.0.1", port: await deadPort() };
  const dyno = await scene.dyno();
  dyno.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await scene.route([dead]);
  assert.equal((await ask(scene)).status, 503);
  assert.match(
    await scene.line(),
    /^at=error code=H21 desc="Backend connection refused" .* dyno=web\.2 connect=\d+ms service= status=503 bytes= /,
  );
  await scene.route([dead, dyno.route]);
  for (let i = 0; i < 20; i++) assert.equal((await ask(scene)).status, 200);
});

test("H19: the dyno takes no connection", async (t) => {
  const { port, fill } = await deafPort(t);
  const scene = await stage(t, { connect: 200 });
  await fill();
  await scene.route([{ id: "deaf", name: "web.1", address: "127.0.0.1", port }]);
  assert.equal((await ask(scene)).status, 503);
  assert.match(
    await scene.line(),
    /^at=error code=H19 desc="Backend connection timeout" .* dyno=web\.1 connect=[2-9]\d\dms service= status=503 bytes= /,
  );
});

test("H24: the edge stops while answers are under way", async (t) => {
  const scene = await stage(t, { stop: 100 });
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const begun = scene.client();
  begun.write(get("/begun"));
  const one = await dyno.next();
  await one.head();
  one.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  await begun.head();
  await begun.take(4);
  const waiting = scene.client();
  waiting.write(get("/waiting"));
  const two = await dyno.next();
  await two.head();
  await scene.edge.stop();
  await Promise.all([begun.closed(), waiting.closed(), one.closed(), two.closed()]);
  assert.equal(waiting.received.length, 0);
  const lines = [await scene.line(), await scene.line()];
  for (const line of lines) assert.match(line, /^at=error code=H24 desc="Forced close" method=GET /);
  assert.match(lines.find((line) => line.includes("/begun"))!, / status=200 bytes=4 /);
  assert.match(lines.find((line) => line.includes("/waiting"))!, / service=\d+ms status= bytes= /);
});

test("a dyno in quarantine is waited for; H99 when that takes too long", async (t) => {
  const scene = await stage(t, { quarantine: 300, connectTotal: 3000 });
  const dead = { id: "dead", name: "web.1", address: "127.0.0.1", port: await deadPort() };
  await scene.route([dead]);
  assert.equal((await ask(scene)).status, 503);
  assert.match(await scene.line(), /H21/);
  // In quarantine: the request waits, then asks again.
  const waiting = ask(scene);
  const server = net.createServer((socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  await new Promise<void>((resolve) => server.listen(dead.port, "127.0.0.1", resolve));
  t.after(() => server.close());
  assert.equal((await waiting).status, 200);
});

test("H99: every dyno stays in quarantine", async (t) => {
  const scene = await stage(t, { quarantine: 60_000, connectTotal: 100 });
  await scene.route([{ id: "dead", name: "web.1", address: "127.0.0.1", port: await deadPort() }]);
  await ask(scene);
  assert.match(await scene.line(), /H21/);
  assert.equal((await ask(scene)).status, 503);
  assert.match(await scene.line(), /^at=error code=H99 desc="Platform error"/);
});

test("H27: the client goes away early, and the dyno is let go", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  client.socket.destroy();
  await connection.closed();
  assert.match(
    await scene.line(),
    /^sock=client at=warning code=H27 desc="Client Request Interrupted" .* dyno=web\.1 connect=\d+ms service=\d+ms status=499 /,
  );
});
