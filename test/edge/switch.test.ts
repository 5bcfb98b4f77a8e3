import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { test } from "node:test";
import { EDGE_DRAINED, type EdgeDrained } from "../../src/wire/routes.ts";
import { appRoute, certificateRoute, get, type RawDyno, type Scene, stage } from "./harness.ts";

const drained = (scene: Scene): string[] =>
  scene.messages.flatMap(({ kind, message }) =>
    kind === EDGE_DRAINED ? (message as EdgeDrained).dynos : [],
  );

test("a removed dyno is never chosen again, and drained when its last request has ended", async (t) => {
  const scene = await stage(t);
  const [old, fresh] = [await scene.dyno("web.1"), await scene.dyno("web.2")];
  fresh.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
  await scene.route([old.route]);
  const client = scene.client();
  client.write(get("/slow"));
  const connection = await old.next();
  await connection.head();
  await scene.route([fresh.route]);
  for (let i = 0; i < 10; i++) {
    const other = scene.client();
    other.write(get());
    await other.head();
    assert.equal((await other.take(3)).toString(), "new");
  }
  assert.deepEqual(drained(scene), []);
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
  await client.head();
  assert.equal((await client.take(3)).toString(), "old");
  await scene.until(() => drained(scene).length > 0);
  assert.deepEqual(drained(scene), ["id-web.1"]);
  assert.equal(old.sockets.length, 1);
});

test("a dyno without requests is drained at once, and told again when control was away", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  await scene.route([]);
  scene.stopControl();
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
  await client.head();
  await scene.startControl();
  await scene.until(() => drained(scene).includes("id-web.1"));
});

/** Sends requests one after the other on a connection until `stop`; gives how many were answered well and how many not. */
async function load(scene: Scene, stop: () => boolean, count: { good: number; bad: number }): Promise<void> {
  const client = scene.client();
  while (!stop()) {
    client.write(get());
    try {
      const head = await client.head();
      await client.take(2);
      if (head.startsWith("HTTP/1.1 200 ")) count.good++;
      else count.bad++;
    } catch {
      count.bad++;
      return;
    }
  }
}

test("twenty switches under load lose no request", async (t) => {
  const scene = await stage(t);
  let dyno = await scene.dyno("web.0");
  const answer = (one: RawDyno): void => one.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  answer(dyno);
  await scene.route([dyno.route]);
  let done = false;
  const count = { good: 0, bad: 0 };
  const clients = Array.from({ length: 8 }, () => load(scene, () => done, count));
  for (let i = 1; i <= 20; i++) {
    const next = await scene.dyno(`web.${i}`);
    answer(next);
    await scene.route([next.route]);
    // As the host does: the old one goes when the edge has said that it is drained.
    await scene.until(() => drained(scene).includes(dyno.route.id));
    dyno.close();
    dyno = next;
    const before = count.good;
    while (count.good < before + 20) await new Promise((resolve) => setImmediate(resolve));
  }
  done = true;
  await Promise.all(clients);
  assert.equal(count.bad, 0);
});

test("the edge serves on without control and Logplex, and from its file after its own restart", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  dyno.answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await scene.publish([
    ["app:a1", appRoute([dyno.route])],
    ["certificate:c", certificateRoute("c", ["x.test"], "CERTIFICATE", "SECRET KEY")],
  ]);
  const file = path.join(scene.layout.edge, "routes.1");
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
  scene.stopControl();
  scene.stopLogplex();
  const ask = async (): Promise<void> => {
    const client = scene.client();
    client.write(get());
    assert.match(await client.head(), / 200 OK/);
  };
  await ask();
  await scene.edge.stop(true);
  assert.doesNotMatch(readFileSync(file, "latin1"), /SECRET KEY/);
  await scene.startEdge();
  await ask();
});

test("stop: no new connections, what is under way is finished", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  const stopped = scene.edge.stop();
  await assert.rejects(
    new Promise((resolve, reject) => {
      net.connect(scene.port, "127.0.0.1").on("connect", resolve).on("error", reject);
    }),
    /ECONNREFUSED/,
  );
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await client.head();
  assert.equal((await client.take(2)).toString(), "ok");
  await stopped;
  await client.closed();
});
