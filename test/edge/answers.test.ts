import assert from "node:assert/strict";
import { contract, get } from "./harness.ts";

/** Takes a chunked body off; gives it without its coding. */
async function chunkedBody(client: {
  until(test: (text: string) => boolean): Promise<string>;
}): Promise<string> {
  const text = await client.until((t) => t.endsWith("\r\n0\r\n\r\n"));
  let body = "";
  for (let at = text.startsWith("\r\n") ? 2 : 0; ; ) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (size === 0) return body;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

contract("an answer cut at every byte of its head is the same answer", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  const answer = "HTTP/1.1 200 OK\r\nX-A: b\r\nDate: x\r\nContent-Length: 4\r\n\r\nbody";
  client.write(get());
  const connection = await dyno.next();
  for (let cut = 1; cut < answer.length; cut += 3) {
    if (cut > 1) client.write(get());
    await connection.head();
    connection.write(answer.slice(0, cut));
    // Two turns of the loop bring the first part to the edge before the second is written.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    connection.write(answer.slice(cut));
    assert.match(await client.head(), /^HTTP\/1\.1 200 OK\r\nX-A: b\r\n/);
    assert.equal((await client.take(4)).toString(), "body");
  }
  assert.equal(dyno.sockets.length, 1);
});

contract("chunked answers stream, and the connection is used again", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  assert.match(await client.head(), /transfer-encoding: chunked/i);
  // The first chunk is there before the second has been written.
  await client.until((text) => text.includes("hello"));
  connection.write("7;ext=1\r\n, world\r\n0\r\nTrailer: x\r\n\r\n");
  assert.equal(await chunkedBody(client), "hello, world");
  client.received = Buffer.alloc(0);
  client.write(get("/again"));
  assert.match(await connection.head(), /^GET \/again/);
  assert.match(await scene.line(), / status=200 bytes=12 protocol=http1\.1 tls=false$/);
});

contract("a body that ends with the connection is passed whole", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  connection.write("HTTP/1.0 200 OK\r\n\r\nsome ");
  await client.until((text) => text.includes("some "));
  connection.socket.end("bytes");
  await client.head();
  assert.equal(await chunkedBody(client), "some bytes");
  // The client's connection lives on.
  client.received = Buffer.alloc(0);
  client.write(get("/again"));
  assert.match(await (await dyno.next()).head(), /^GET \/again/);
});

contract("HEAD, 204 and 304 have no body, whatever their headers say", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  const connection = dyno.next();
  const ask = async (method: string, answer: string): Promise<string> => {
    client.write(get().replace("GET", method));
    const socket = await connection;
    await socket.head();
    socket.write(answer);
    return client.head();
  };
  assert.match(
    await ask("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
    /Content-Length: 1234\r\n/,
  );
  assert.match(
    await ask("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    /Transfer-Encoding: chunked/,
  );
  assert.match(await ask("GET", "HTTP/1.1 204 No Content\r\n\r\n"), / 204 /);
  const notModified = await ask(
    "GET",
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "x"\r\n\r\n',
  );
  assert.match(notModified, /Content-Length: 99\r\n/);
  assert.match(await ask("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), /Content-Length: 0\r\n/);
  assert.equal(dyno.sockets.length, 1);
  assert.equal(client.received.length, 0);
});

contract("1xx answers are passed over", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const connection = await dyno.next();
  await connection.head();
  connection.write(
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n",
  );
  connection.write("Content-Length: 2\r\n\r\nok");
  assert.match(await client.head(), /^HTTP\/1\.1 200 OK/);
});

contract("bytes behind an answer are not taken for the next one", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const first = await dyno.next();
  await first.head();
  first.write(
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
  );
  await client.head();
  assert.equal((await client.take(2)).toString(), "ok");
  client.write(get());
  const second = await dyno.next();
  await second.head();
  second.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
  await client.head();
  assert.equal((await client.take(4)).toString(), "good");
});

contract("a connection that died idle is replaced without the client seeing it", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route]);
  const client = scene.client();
  client.write(get());
  const first = await dyno.next();
  await first.head();
  first.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  await client.head();
  await client.take(2);
  client.write(get("/again"));
  // The dyno has read the request on the old connection, and drops it without a word.
  await first.head();
  first.socket.destroy();
  const second = await dyno.next();
  assert.match(await second.head(), /^GET \/again/);
  second.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  assert.match(await client.head(), / 200 OK/);
});

contract("without keep-alive to the dyno every request has its own connection", async (scene) => {
  const dyno = await scene.dyno();
  await scene.route([dyno.route], { keepAlive: false });
  const client = scene.client();
  for (let i = 0; i < 3; i++) {
    client.write(get());
    const connection = await dyno.next();
    assert.match(await connection.head(), /\r\nConnection: close\r\n/);
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await client.head();
    await client.take(2);
    await connection.closed();
  }
});
