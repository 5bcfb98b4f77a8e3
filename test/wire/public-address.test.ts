import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { isPublic, PrivateAddressError, publicOnly } from "../../src/wire/public-address.ts";

test("only addresses of the public internet are public", () => {
  const closed = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
    "ff02::1",
    "localhost",
    "",
  ];
  for (const address of closed) assert.equal(isPublic(address), false, address);
  for (const address of ["8.8.8.8", "172.32.0.1", "2606:4700::1111"]) assert.ok(isPublic(address), address);
});

test("a connection to a private address is refused, by number and by name", async () => {
  assert.throws(() => publicOnly("127.0.0.1"), PrivateAddressError);
  assert.throws(() => publicOnly("::1"), /a private address/);
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  let reached = false;
  server.on("connection", () => {
    reached = true;
  });
  const socket = net.connect({ host: "localhost", port, ...publicOnly("localhost") });
  const [error] = (await once(socket, "error")) as [Error];
  assert.ok(error instanceof PrivateAddressError, String(error));
  assert.equal(reached, false);
  server.close();
});
