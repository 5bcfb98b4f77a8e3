import assert from "node:assert/strict";
import { contract, get } from "./harness.ts";

const field = (head: string, name: string): string[] =>
  [...head.matchAll(new RegExp(`^${name}: (.*)\r$`, "gim"))].map((match) => match[1]!);

contract("Heroku's request headers are set, hop-by-hop ones removed", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const before = Date.now();
  scene
    .client()
    .write(
      get(
        "/a?b=%20c&d",
        "Connection: keep-alive",
        "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Authorization: x",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-For: 5.6.7.8",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Host: evil",
        "X-Request-Start: 1",
        "Via: 1.1 other",
        "Cookie: a=b",
        "X-Own: a;b",
      ),
    );
  const head = await (await dyno.next()).head();
  assert.match(head, /^GET \/a\?b=%20c&d HTTP\/1\.1\r\n/);
  assert.deepEqual(field(head, "x-forwarded-for"), ["1.2.3.4, 5.6.7.8, 127.0.0.1"]);
  assert.deepEqual(field(head, "x-forwarded-proto"), ["http"]);
  assert.deepEqual(field(head, "x-forwarded-port"), [String(scene.port)]);
  assert.deepEqual(field(head, "x-forwarded-host"), ["evil"]);
  assert.deepEqual(field(head, "via"), ["1.1 other, 1.1 heroku-router"]);
  assert.deepEqual(field(head, "cookie"), ["a=b"]);
  assert.deepEqual(field(head, "x-own"), ["a;b"]);
  const start = Number(field(head, "x-request-start")[0]);
  assert.ok(start >= before && start <= Date.now());
  assert.match(field(head, "x-request-id")[0]!, /^[A-Za-z0-9+/=-]{20,200}$/);
  for (const gone of ["connection", "keep-alive", "te", "proxy-authorization"]) {
    assert.deepEqual(field(head, gone), []);
  }
});

contract("a valid request id is kept, any other replaced, and both are logged", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  dyno.answerAll("HTTP/1.1 204 No Content\r\n\r\n");
  const client = scene.client();
  const seen: string[] = [];
  for (const id of ["30f14c6c-1fc9-4d70-a521-2b8f8d5c6a9e", "short", `${"x".repeat(20)}_`]) {
    client.write(get("/", `X-Request-Id: ${id}`));
    await client.head();
    seen.push((await scene.line()).match(/request_id=(\S+)/)![1]!);
  }
  assert.equal(seen[0], "30f14c6c-1fc9-4d70-a521-2b8f8d5c6a9e");
  assert.notEqual(seen[1], "short");
  assert.match(seen[2]!, /^[A-Za-z0-9+/=-]{20,200}$/);
});

contract("the answer gets Via, and Server when the app names none", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  connection.write(
    "HTTP/1.1 200 Fine by me\r\nVia: 1.0 inner\r\nDate: x\r\nConnection: keep-alive\r\nX-B: \xe9\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
  );
  const head = await client.head();
  assert.match(head, /^HTTP\/1\.1 200 Fine by me\r\n/);
  assert.deepEqual(field(head, "via"), ["1.0 inner", "1.1 heroku-router"]);
  assert.deepEqual(field(head, "server"), ["Heroku"]);
  assert.deepEqual(field(head, "set-cookie"), ["a", "b"]);
  assert.deepEqual(field(head, "x-b"), ["\xe9"]);
  assert.equal(field(head, "date").length, 1);
  assert.notEqual(field(head, "date")[0], "x");
  assert.deepEqual(field(head, "connection"), []);
  assert.doesNotMatch(head, /uWebSockets/i);
  client.write(get());
  await connection.head();
  connection.write("HTTP/1.1 200 OK\r\nServer: own\r\nContent-Length: 0\r\n\r\n");
  assert.deepEqual(field(await client.head(), "server"), ["own"]);
});

contract("affinity: the cookie brings the client back to its dyno", async (scene) => {
  const dynos = await Promise.all(["web.1", "web.2", "web.3"].map((name) => scene.dyno(name)));
  for (const dyno of dynos) {
    dyno.answerAll(`HTTP/1.1 200 OK\r\nX-Dyno: ${dyno.route.name}\r\nContent-Length: 0\r\n\r\n`);
  }
  await scene.route(
    dynos.map((dyno) => dyno.route),
    { affinity: true },
  );
  const client = scene.client();
  client.write(get());
  const first = await client.head();
  const cookie = field(first, "set-cookie")[0]!;
  assert.match(
    cookie,
    /^heroku-session-affinity=[\w-]+; Version=1; Expires=.* GMT; Max-Age=86400; Domain=hello\.test; Path=\/; HttpOnly$/,
  );
  for (let i = 0; i < 10; i++) {
    client.write(get("/", `Cookie: z=1; ${cookie.split(";")[0]}`));
    const head = await client.head();
    assert.deepEqual(field(head, "x-dyno"), field(first, "x-dyno"));
    assert.deepEqual(field(head, "set-cookie"), []);
  }
  // The dyno goes: another one is taken, with a new cookie.
  const gone = field(first, "x-dyno")[0];
  await scene.route(
    dynos.map((dyno) => dyno.route).filter((route) => route.name !== gone),
    { affinity: true },
  );
  client.write(get("/", `Cookie: ${cookie.split(";")[0]}`));
  const head = await client.head();
  assert.notEqual(field(head, "x-dyno")[0], gone);
  assert.equal(field(head, "set-cookie").length, 1);
});
