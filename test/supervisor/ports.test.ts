import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { readConfig } from "../../src/config/environment.ts";
import { type PortSetting, portSettings, resolvePorts } from "../../src/supervisor/ports.ts";
import { atEnd } from "../at-end.ts";

const setting = (port: number, host = "127.0.0.1"): PortSetting => ({
  variable: "SLUICE_EDGE_PORT",
  hostVariable: "SLUICE_EDGE_HOST",
  host,
  port,
});

test("port 0 becomes a free port that a part can bind afterwards, each another one", async () => {
  const variables = ["EDGE", "EDGE_TLS", "API", "API_TLS", "RENDEZVOUS", "LOGPLEX", "LOGPLEX_HTTP"];
  const env = Object.fromEntries(variables.map((name) => [`SLUICE_${name}_PORT`, "0"]));
  const ports = await resolvePorts(portSettings(readConfig(env)));
  assert.deepEqual(
    Object.keys(ports),
    variables.map((name) => `SLUICE_${name}_PORT`),
  );
  assert.equal(new Set(Object.values(ports)).size, variables.length);
  for (const port of Object.values(ports)) {
    const server = net.createServer().listen(port, "127.0.0.1");
    await new Promise((done) => server.once("listening", done));
    await new Promise((done) => server.close(done));
  }
});

test("a taken port is one sentence that names the variable", async (t) => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  atEnd(t, () => server.close());
  const { port } = server.address() as net.AddressInfo;
  await assert.rejects(
    resolvePorts([setting(port)]),
    new RegExp(`Port ${port} on 127.0.0.1 is already taken: .* set SLUICE_EDGE_PORT to another port`),
  );
});

test("an address of another machine is one sentence that names the variable", async () => {
  await assert.rejects(
    resolvePorts([setting(0, "192.0.2.1")]),
    /set SLUICE_EDGE_HOST to an address of its own/,
  );
});
