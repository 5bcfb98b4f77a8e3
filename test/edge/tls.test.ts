import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import tls from "node:tls";
import { type Certified, issueLeaf, makeAuthority } from "../../src/control/tls/certificate.ts";
import { appRoute, certificateRoute, DynoSocket, get, type Scene, stage } from "./harness.ts";

/** A TLS connection to the edge that names `servername`, checked against `authority`. */
async function connect(scene: Scene, authority: Certified, servername: string): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    port: scene.edge.ports.https,
    host: "127.0.0.1",
    servername,
    ca: authority.certificate,
    // Who is shown is what the tests look at.
    checkServerIdentity: () => undefined,
  });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return socket;
}

/** Common name of the certificate shown for `servername`; tries again while the edge takes the certificates. */
async function shown(scene: Scene, authority: Certified, servername: string, wanted: string): Promise<void> {
  for (;;) {
    const name = await connect(scene, authority, servername).then(
      (socket) => {
        const { CN } = socket.getPeerCertificate().subject;
        socket.destroy();
        return CN;
      },
      () => "refused",
    );
    if (name === wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const memory = (): string[] => readdirSync("/dev/shm").filter((name) => name.startsWith("sluice-edge-"));

test("certificates come with the feed, by name, and change without a restart", async (t) => {
  const scene = await stage(t);
  const dyno = await scene.dyno();
  const authority = await makeAuthority("test", 10);
  const [fallback, own, renewed] = await Promise.all(
    [["*.test"], ["own.example"], ["own.example", "renewed.example"]].map((names) =>
      issueLeaf(authority, names, 5),
    ),
  );
  const route = (id: string, hosts: string[], leaf: Certified, last = false) =>
    [`certificate:${id}`, certificateRoute(id, hosts, leaf.certificate, leaf.key, last)] as const;
  await scene.publish([
    ["app:a1", appRoute([dyno.route], { hosts: ["hello.test", "own.example"] })],
    [...route("f", ["*.test"], fallback!, true)],
  ]);
  await shown(scene, authority, "hello.test", "*.test");
  // A client without a name, and one with a name that nobody has, are shown the fallback.
  await shown(scene, authority, "", "*.test");
  await shown(scene, authority, "unknown.example", "*.test");
  await scene.publish([[...route("o", ["own.example"], own!)]]);
  await shown(scene, authority, "own.example", "own.example");

  const socket = await connect(scene, authority, "own.example");
  t.after(() => socket.destroy());
  const client = new DynoSocket(socket);
  client.write(get().replace("hello.test", "own.example"));
  const connection = await dyno.next();
  const head = await connection.head();
  assert.match(head, /X-Forwarded-Proto: https\r\n/);
  assert.match(head, new RegExp(`X-Forwarded-Port: ${scene.edge.ports.https}\r\n`));
  // The certificate changes under the open connection, which goes on.
  await scene.publish([[...route("o", ["own.example", "renewed.example"], renewed!)]]);
  await shown(scene, authority, "renewed.example", "own.example");
  connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  assert.match(await client.head(), / 200 OK/);
  assert.match(await scene.line(), / protocol=http1\.1 tls=true tls_version=unknown$/);
  assert.deepEqual(memory(), [], "a key was left in memory's folder");

  // After a restart without control there are no certificates: the handshake fails, plain HTTP goes on.
  scene.stopControl();
  await scene.edge.stop(true);
  await scene.startEdge();
  await assert.rejects(connect(scene, authority, "hello.test"));
  await scene.startControl();
  await shown(scene, authority, "hello.test", "*.test");
});

test("a certificate that cannot be read harms no other", async (t) => {
  const scene = await stage(t);
  const authority = await makeAuthority("test", 10);
  const good = await issueLeaf(authority, ["good.test"], 5);
  await scene.publish([
    ["certificate:bad", certificateRoute("bad", ["bad.test"], "no", "certificate", true)],
    ["certificate:good", certificateRoute("good", ["good.test"], good.certificate, good.key)],
  ]);
  await shown(scene, authority, "good.test", "good.test");
});
