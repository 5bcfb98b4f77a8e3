import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { type TestContext, test } from "node:test";
import { writeLatin1 } from "../../src/edge/direct-write.ts";

async function pair(t: TestContext): Promise<{ here: net.Socket; there: net.Socket }> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const here = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [there] = (await once(server, "connection")) as [net.Socket];
  if (here.connecting) await once(here, "connect");
  t.after(() => {
    here.destroy();
    there.destroy();
    server.close();
  });
  return { here, there };
}

test("heads arrive whole and in order, beyond what the kernel takes at once, and before later stream writes", async (t) => {
  const { here, there } = await pair(t);
  const pieces = Array.from({ length: 400 }, (_, index) => String(index % 10).repeat(50_000));
  for (const piece of pieces) writeLatin1(here, piece);
  here.end("the end\xe9", "latin1");
  const received: Buffer[] = [];
  for await (const chunk of there) received.push(chunk as Buffer);
  const text = Buffer.concat(received).toString("latin1");
  assert.ok(text === `${pieces.join("")}the end\xe9`, `${text.length} bytes came`);
});

test("what the stream still holds goes first", async (t) => {
  const { here, there } = await pair(t);
  here.cork();
  here.write("first ");
  writeLatin1(here, "second");
  here.uncork();
  here.end();
  let text = "";
  for await (const chunk of there) text += chunk;
  assert.equal(text, "first second");
});

test("a peer that has gone shows as the socket's error, and writing on does no harm", async (t) => {
  const { here, there } = await pair(t);
  const failed = once(here, "error");
  there.resetAndDestroy();
  await failed;
  here.on("error", () => {});
  writeLatin1(here, "x");
  assert.equal(here.destroyed, true);
});
