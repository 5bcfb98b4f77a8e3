import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { type BoundPort, bindPort, type Listener, serveHttp } from "../../src/control/listeners.ts";
import { type Certified, issueLeaf, makeAuthority } from "../../src/control/tls/certificate.ts";

const pem = ({ certificate, key }: Certified) => ({ cert: certificate, key });

describe("listeners", () => {
  const open: { close(): unknown }[] = [];
  const keep = <T extends { close(): unknown }>(one: T): T => {
    open.push(one);
    return one;
  };
  let authority: Certified;
  before(async () => {
    authority = await makeAuthority("test", 10);
  });
  after(async () => {
    for (const one of open.reverse()) await one.close();
  });
  const serve = async (bound: BoundPort, leaf?: Certified): Promise<Listener> =>
    keep(await serveHttp(bound, (_request, response) => response.end("served"), leaf && pem(leaf)));

  it("answer who came between binding and serving, and who comes after", async () => {
    const bound = await bindPort("127.0.0.1", 0);
    const ask = async (): Promise<string> => {
      const socket = net.connect(bound.port, "127.0.0.1");
      socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      let text = "";
      for await (const chunk of socket) text += chunk;
      return text;
    };
    const early = net.connect(bound.port, "127.0.0.1");
    await once(early, "connect");
    early.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const gone = net.connect(bound.port, "127.0.0.1");
    await once(gone, "connect");
    gone.resetAndDestroy();
    await serve(bound);
    let text = "";
    for await (const chunk of early) text += chunk;
    assert.match(text, /^HTTP\/1\.1 200 .*served/s);
    assert.match(await ask(), /^HTTP\/1\.1 200 .*served/s);
  });

  it("say in one sentence that a port is taken", async () => {
    const bound = keep(await bindPort("127.0.0.1", 0));
    await assert.rejects(
      bindPort("127.0.0.1", bound.port),
      new RegExp(`^Error: Port ${bound.port} on 127.0.0.1 cannot be used: another program has it; .*\\.$`),
    );
  });

  it("change their certificate while they serve", async () => {
    const bound = await bindPort("127.0.0.1", 0);
    const [first, second] = [
      await issueLeaf(authority, ["localhost", "127.0.0.1"], 5),
      await issueLeaf(authority, ["localhost", "127.0.0.1"], 6),
    ];
    const listener = await serve(bound, first);
    const serial = async (): Promise<string> => {
      const socket = tls.connect({ port: bound.port, host: "127.0.0.1", ca: authority.certificate });
      await once(socket, "secureConnect");
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    assert.equal(await serial(), new X509Certificate(first.certificate).serialNumber);
    listener.renew(pem(second));
    assert.equal(await serial(), new X509Certificate(second.certificate).serialNumber);
  });
});
