import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { contract } from "./harness.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

contract("an upload with a length arrives whole, and its answer comes back", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  const body = randomBytes(3 * 1024 * 1024);
  client.write(`PUT /up HTTP/1.1\r\nHost: hello.test\r\nContent-Length: ${body.length}\r\n\r\n`);
  client.write(body);
  const connection = await dyno.next();
  assert.match(await connection.head(), /Content-Length: 3145728\r\n/);
  assert.ok((await connection.take(body.length)).equals(body));
  connection.write(OK);
  assert.match(await client.head(), / 200 OK/);
});

contract(
  "a chunked upload stays chunked; its client's connection is closed behind the answer",
  async (scene) => {
    const dyno = await scene.dyno();
    await scene.route([dyno.route]);
    const client = scene.client();
    client.write("POST /up HTTP/1.1\r\nHost: hello.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    const connection = await dyno.next();
    assert.match(await connection.head(), /Transfer-Encoding: chunked\r\n/);
    await connection.until((text) => text.includes("5\r\nhello\r\n"));
    client.write("3\r\nfoo\r\n0\r\n\r\n");
    await connection.until((text) => text.endsWith("3\r\nfoo\r\n0\r\n\r\n"));
    connection.write(OK);
    await client.closed();
    const answer = client.received.toString();
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /\r\nConnection: close\r\n/);
  },
);

contract("Expect: 100-continue is answered by the edge", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write("POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  assert.match(await client.head(), /^HTTP\/1\.1 100 /);
  client.write("hi");
  const connection = await dyno.next();
  assert.doesNotMatch(await connection.head(), /expect/i);
  await connection.take(2);
  connection.write(OK);
  assert.match(await client.head(), / 200 OK/);
});

contract("a dyno that answers before the upload's end is heard, and not used again", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write("POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 1000\r\n\r\nabc");
  const connection = await dyno.next();
  await connection.head();
  connection.write("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nno!");
  assert.match(await client.head(), / 413 /);
  assert.equal((await client.take(3)).toString(), "no!");
  await connection.closed();
});

contract("a dyno that does not read stops the client, and memory stays bounded", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  dyno.onConnection = (socket) => void socket.socket.pause();
  const client = scene.client();
  const total = 200 * 1024 * 1024;
  client.write(`POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: ${total}\r\n\r\n`);
  const connection = await dyno.next();
  const piece = Buffer.alloc(1024 * 1024);
  let written = 0;
  // Writes until nothing is taken for a while: the chain of buffers from client to dyno is full.
  for (;;) {
    if (written >= total) break;
    written += piece.length;
    if (client.socket.write(piece)) continue;
    const drained = await Promise.race([
      new Promise<boolean>((resolve) => client.socket.once("drain", () => resolve(true))),
      new Promise<boolean>((resolve) => setTimeout(resolve, 500, false)),
    ]);
    if (!drained) break;
  }
  assert.ok(written < 64 * 1024 * 1024, `${written} bytes were taken for a dyno that reads nothing`);
  // Then it reads: everything comes through.
  let received = 0;
  const done = new Promise<void>((resolve) => {
    connection.socket.removeAllListeners("data");
    connection.socket.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received >= total) resolve();
    });
  });
  connection.socket.resume();
  while (written < total) {
    const length = Math.min(piece.length, total - written);
    written += length;
    if (!client.socket.write(piece.subarray(0, length))) {
      await new Promise((resolve) => client.socket.once("drain", resolve));
    }
  }
  await done;
  connection.write(OK);
  assert.match(await client.head(), / 200 OK/);
});
