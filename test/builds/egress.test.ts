import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { Egress, EgressError } from "../../src/control/egress/egress.ts";
import { EgressProxy } from "../../src/control/egress/proxy.ts";
import { isPublic } from "../../src/wire/public-address.ts";

describe("the egress rule", () => {
  let server: http.Server;
  let other: http.Server;
  const port = (): number => (server.address() as AddressInfo).port;
  const otherPort = (): number => (other.address() as AddressInfo).port;

  before(async () => {
    server = http.createServer((request, response) => {
      if (request.url === "/away")
        response.writeHead(302, { Location: `http://127.0.0.1:${otherPort()}/who` }).end();
      else if (request.url === "/loop") response.writeHead(302, { Location: "/loop" }).end();
      else if (request.url === "/file") response.writeHead(302, { Location: "file:///etc/passwd" }).end();
      else if (request.url === "/here") response.writeHead(302, { Location: "/who" }).end();
      else response.end(request.headers.authorization ?? "nobody");
    });
    other = http.createServer((request, response) => response.end(request.headers.authorization ?? "nobody"));
    for (const each of [server, other]) await once(each.listen(0, "127.0.0.1"), "listening");
  });
  after(() => {
    server.close();
    other.close();
  });

  const read = async (egress: Egress, url: string): Promise<string> => {
    let text = "";
    for await (const chunk of (await egress.get(url)).body) text += chunk;
    return text;
  };

  it("tells public addresses from the others", () => {
    for (const address of ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8"])
      assert.ok(isPublic(address), address);
    for (const address of [
      "127.0.0.1",
      "10.1.2.3",
      "172.31.0.1",
      "192.168.1.1",
      "169.254.169.254",
      "100.64.0.1",
      "0.0.0.0",
      "224.0.0.1",
      "::1",
      "::",
      "fe80::1",
      "fd00:ec2::254",
      "::ffff:127.0.0.1",
      "::ffff:8.8.8.8",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      "none",
    ]) {
      assert.ok(!isPublic(address), address);
    }
  });

  it("refuses what is not public, by name, number or redirect, and other schemes", async () => {
    const closed = new Egress(false);
    for (const url of [
      `http://127.0.0.1:${port()}/`,
      `http://localhost:${port()}/`,
      "http://2130706433/",
      "http://[::1]/",
    ]) {
      await assert.rejects(closed.get(url), /not public/, url);
    }
    await assert.rejects(closed.get("file:///etc/passwd"), EgressError);
    await assert.rejects(new Egress(true).get(`http://127.0.0.1:${port()}/file`), /begins with file:/);
    await assert.rejects(
      new Egress(true).get(`http://127.0.0.1:${port()}/loop`),
      /redirects more than 3 times/,
    );
  });

  it("keeps credentials to their own origin", async () => {
    const open = new Egress(true);
    assert.match(await read(open, `http://a:b@127.0.0.1:${port()}/here`), /^Basic /);
    assert.equal(await read(open, `http://a:b@127.0.0.1:${port()}/away`), "nobody");
  });

  it("tunnels for those who have its password, by the same rule", async () => {
    const ask = async (proxy: EgressProxy, head: (user: string) => string): Promise<string> => {
      const url = new URL(await proxy.url());
      const socket = net.connect(Number(url.port), "127.0.0.1");
      socket.write(head(Buffer.from(`${url.username}:${url.password}`).toString("base64")));
      const [chunk] = await once(socket, "data");
      socket.destroy();
      return String(chunk).split("\r\n")[0]!;
    };
    const open = new EgressProxy(new Egress(true));
    const closed = new EgressProxy(new Egress(false));
    const target = `127.0.0.1:${port()}`;
    const connect = (user: string): string =>
      `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Basic ${user}\r\n\r\n`;
    const plain = (user: string): string =>
      `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Basic ${user}\r\n\r\n`;
    assert.match(await ask(open, connect), / 200 /);
    assert.match(await ask(open, plain), / 200 /);
    assert.match(await ask(closed, connect), / 403 /);
    assert.match(await ask(closed, plain), / 403 /);
    assert.match(await ask(open, () => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`), / 407 /);
    await open.close();
    await closed.close();
  });
});
