import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { type DynoSocket, type Scene, stage } from "./harness.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const UPGRADE = `GET /chat HTTP/1.1\r\nHost: hello.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`;

function frame(opcode: number, payload: Buffer | string, masked: boolean, last = true): Buffer {
  const body = Buffer.from(payload);
  const head = [(last ? 0x80 : 0) | opcode];
  const bit = masked ? 0x80 : 0;
  if (body.length < 126) head.push(bit | body.length);
  else if (body.length < 65536) head.push(bit | 126, body.length >> 8, body.length & 255);
  else {
    head.push(bit | 127, 0, 0, 0, 0);
    for (const shift of [24, 16, 8, 0]) head.push((body.length >>> shift) & 255);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), body]);
  const mask = randomBytes(4);
  return Buffer.concat([Buffer.from(head), mask, body.map((byte, i) => byte ^ mask[i & 3]!)]);
}

/** Takes one frame off; gives opcode and payload. */
async function receive(socket: DynoSocket): Promise<{ opcode: number; payload: Buffer }> {
  const head = await socket.take(2);
  let length = head[1]! & 127;
  if (length === 126) length = (await socket.take(2)).readUInt16BE();
  else if (length === 127) length = Number((await socket.take(8)).readBigUInt64BE());
  const mask = head[1]! & 0x80 ? Buffer.from(await socket.take(4)) : Buffer.alloc(4);
  const payload = (await socket.take(length)).map((byte, i) => byte ^ mask[i & 3]!);
  return { opcode: head[0]! & 15, payload: Buffer.from(payload) };
}

async function open(scene: Scene): Promise<{ client: DynoSocket; dyno: DynoSocket }> {
  const server = await scene.dyno();
  await scene.route([server.route]);
  const client = scene.client();
  client.write(UPGRADE);
  const dyno = await server.next();
  const request = await dyno.head();
  assert.match(request, /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/);
  assert.match(request, new RegExp(`Sec-WebSocket-Key: ${KEY.replace(/=/g, "=")}\r\n`));
  assert.doesNotMatch(request, /extensions/i);
  dyno.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: b\r\nSet-Cookie: s=1\r\n\r\n`,
  );
  const answer = await client.head();
  assert.match(answer, /^HTTP\/1\.1 101 /);
  assert.match(answer, new RegExp(`Sec-WebSocket-Accept: ${ACCEPT.replaceAll("+", "\\+")}\r\n`));
  assert.match(answer, /Sec-WebSocket-Protocol: b\r\n/);
  assert.match(answer, /Set-Cookie: s=1\r\n/);
  return { client, dyno };
}

test("messages of every size go both ways, fragments and pings too", async (t) => {
  const scene = await stage(t);
  const { client, dyno } = await open(scene);
  for (const size of [0, 5, 125, 126, 65535, 65536, 1024 * 1024]) {
    const message = randomBytes(size);
    client.write(frame(2, message, true));
    const atDyno = await receive(dyno);
    assert.equal(atDyno.opcode, 2);
    assert.ok(atDyno.payload.equals(message));
    dyno.write(frame(2, message, false));
    const atClient = await receive(client);
    assert.equal(atClient.opcode, 2);
    assert.ok(atClient.payload.equals(message));
  }
  dyno.write(frame(1, "one ", false, false));
  dyno.write(frame(9, "ping", false));
  assert.deepEqual(await receive(client), { opcode: 9, payload: Buffer.from("ping") });
  client.write(frame(10, "ping", true));
  assert.deepEqual(await receive(dyno), { opcode: 10, payload: Buffer.from("ping") });
  dyno.write(frame(0, "message", false));
  assert.deepEqual(await receive(client), { opcode: 1, payload: Buffer.from("one message") });
});

test("a close of either side reaches the other, with its code, and is logged", async (t) => {
  const scene = await stage(t);
  const first = await open(scene);
  first.client.write(frame(8, Buffer.from([0x0f, 0xa1, 0x62, 0x79]), true));
  assert.deepEqual(await receive(first.dyno), { opcode: 8, payload: Buffer.from([0x0f, 0xa1, 0x62, 0x79]) });
  await first.dyno.closed();
  await first.client.closed();
  assert.match(await scene.line(), /^at=info method=GET path="\/chat" .* status=101 bytes=0 /);
  const second = await open(scene);
  second.dyno.write(frame(8, Buffer.from([0x03, 0xe8]), false));
  assert.deepEqual(await receive(second.client), { opcode: 8, payload: Buffer.from([0x03, 0xe8]) });
  await second.dyno.closed();
  assert.match(await scene.line(), /^at=info .* status=101 /);
});

test("a dyno that dies takes the client's connection with it", async (t) => {
  const scene = await stage(t);
  const { client, dyno } = await open(scene);
  dyno.socket.destroy();
  await client.closed();
});

test("a dyno that will not upgrade is heard as it is", async (t) => {
  const scene = await stage(t);
  const server = await scene.dyno();
  await scene.route([server.route]);
  const client = scene.client();
  client.write(UPGRADE);
  const dyno = await server.next();
  await dyno.head();
  dyno.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
  assert.match(await client.head(), / 403 Forbidden/);
  assert.equal((await client.take(2)).toString(), "no");
});

test("H15: nobody says a word; a ping keeps it", async (t) => {
  const scene = await stage(t, { rolling: 300 });
  const { client, dyno } = await open(scene);
  const began = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 150));
  client.write(frame(9, "", true));
  assert.equal((await receive(dyno)).opcode, 9);
  await dyno.closed();
  assert.ok(Date.now() - began >= 440);
  assert.match(await scene.line(), /^at=error code=H15 desc="Idle connection" .* status=101 /);
});

test("a client that does not read stops the dyno", async (t) => {
  const scene = await stage(t);
  const { client, dyno } = await open(scene);
  client.socket.pause();
  const message = frame(2, Buffer.alloc(256 * 1024), false);
  let written = 0;
  let stopped = false;
  while (written < 200 * 1024 * 1024 && !stopped) {
    written += message.length;
    if (dyno.socket.write(message)) continue;
    stopped = await Promise.race([
      new Promise<boolean>((resolve) => dyno.socket.once("drain", () => resolve(false))),
      new Promise<boolean>((resolve) => setTimeout(resolve, 500, true)),
    ]);
  }
  assert.ok(stopped, "everything was taken");
  client.socket.resume();
  await new Promise((resolve) => dyno.socket.once("drain", resolve));
});
