import assert from "node:assert/strict";
import { contract, get } from "./harness.ts";

contract("one dyno connection carries request after request", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get("/one"));
  const connection = await dyno.next();
  assert.match(await connection.head(), /^GET \/one HTTP\/1\.1\r\nhost: hello\.test\r\n/);
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  assert.match(await client.head(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal((await client.take(5)).toString(), "hello");
  client.write(get("/two"));
  assert.match(await connection.head(), /^GET \/two /);
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await client.head();
  assert.equal((await client.take(2)).toString(), "ok");
  assert.equal(dyno.sockets.length, 1);
});
