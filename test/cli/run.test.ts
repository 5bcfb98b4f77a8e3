import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { type TestContext, test } from "node:test";
import tls from "node:tls";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import { peer, type Seen } from "./peer.ts";
import { selfSigned } from "./self-signed.ts";
import { MAIN, sluice, temporaryFolder } from "./sluice.ts";

/** A rendezvous that greets who knows the secret and hands the bytes on; its certificate is its own CA. */
async function rendezvous(t: TestContext, serve: (socket: tls.TLSSocket) => void) {
  const { cert, key } = await selfSigned();
  const server = tls.createServer({ cert, key }, (socket) => {
    socket.on("error", () => {});
    let head = "";
    const read = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n");
      if (end < 0) return;
      socket.off("data", read);
      if (head.slice(0, end) !== "the-secret") return void socket.destroy();
      socket.write("rendezvous\r\n");
      const rest = Buffer.from(head.slice(end + 2), "latin1");
      if (rest.length > 0) socket.unshift(rest);
      serve(socket);
    };
    socket.on("data", read);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const ca = path.join(temporaryFolder(t), "ca.pem");
  writeFileSync(ca, cert);
  const port = (server.address() as AddressInfo).port;
  let tell: (seen: Seen) => void;
  const resized = new Promise<Seen>((resolve) => {
    tell = resolve;
  });
  const api = await peer(t, {
    "PATCH /apps/hello/dynos/run.1234": (asked, response) => {
      response.end("{}");
      tell(asked);
    },
    "POST /apps/hello/dynos": {
      id: "1",
      name: "run.1234",
      attach_url: `rendezvous://127.0.0.1:${port}/the-secret`,
    },
  });
  return { seen: api.seen, resized, env: { ...api.env, SLUICE_CA: ca, SLUICE_APP: "hello", TERM: "xterm" } };
}

const status = (code: number): string => `\uFFFF heroku-command-exit-status: ${code}\n`;

test("a piped command gets its input whole and passes output and status on", async (t) => {
  const { env, seen } = await rendezvous(t, (socket) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      const all = Buffer.concat(chunks);
      if (all.at(-1) === 4) socket.end(`${all.length - 1} bytes\n${status(3)}`);
    });
  });
  const input = Buffer.alloc(300_000, "x");
  const result = await sluice(["run", "wc", "-c", "--", "a b"], { env, input });
  assert.deepEqual(result, { status: 3, out: "300000 bytes\n", err: "" });
  assert.deepEqual(seen[0]!.body, {
    command: "wc -c -- 'a b'",
    attach: true,
    exit_status: true,
    force_no_tty: true,
    env: { TERM: "xterm" },
  });
});

test("a dyno that ends without a status is told, and so is an untrusted rendezvous", async (t) => {
  const { env } = await rendezvous(t, (socket) => void socket.end("half\n"));
  const cut = await sluice(["run", "true"], { env });
  assert.equal(cut.status, 1);
  assert.equal(cut.out, "half\n");
  assert.equal(cut.err, "sluice: run.1234 ended without telling an exit status.\n");
  const untrusted = await sluice(["run", "true"], { env: { ...env, SLUICE_CA: "" } });
  assert.equal(untrusted.status, 1);
  assert.match(
    untrusted.err,
    /^sluice: The certificate of the rendezvous .* is not trusted .*SLUICE_CA\.\n$/,
  );
});

test("a detached command answers with the dyno's name", async (t) => {
  const { env, seen } = await peer(t, {
    "POST /apps/hello/dynos": { id: "1", name: "run.77", attach_url: null },
  });
  const result = await sluice(["run", "-d", "-a", "hello", "-e", "A=1", "rake", "x"], { env });
  assert.deepEqual(result, { status: 0, out: "Running on hello as run.77.\n", err: "" });
  assert.deepEqual(seen[0]!.body, { command: "rake x", attach: false, env: { A: "1" } });
});

test("on a terminal keys go raw, the window's size is told, and the status is passed on", async (t) => {
  let keys = "";
  const { env, seen, resized } = await rendezvous(t, (socket) => {
    socket.write("$ ");
    socket.on("data", (chunk: Buffer) => {
      keys += chunk.toString("latin1");
      if (keys === "\u0003") terminal.resize(100, 40);
      if (keys.endsWith("q")) socket.end(status(9));
    });
  });
  const terminal = spawnTerminal(process.execPath, [MAIN, "run", "bash"], {
    cols: 80,
    rows: 24,
    env: { ...env, PATH: process.env.PATH!, HOME: "/nonexistent" },
  });
  t.after(() => terminal.kill());
  const exit = new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
  let shown = "";
  terminal.onData((text) => {
    shown += text;
    // Ctrl-C goes to the dyno; then its new size reaches the API, and a key without a line end the dyno.
    if (shown.endsWith("$ ") && keys === "") terminal.write("\u0003");
  });
  const asked = await resized;
  terminal.write("q");
  assert.equal(await exit, 9);
  assert.equal(keys, "\u0003q");
  assert.deepEqual(asked.body, { columns: 100, lines: 40 });
  assert.equal(asked.path, "/apps/hello/dynos/run.1234");
  assert.deepEqual((seen[0]!.body as { env: unknown }).env, { TERM: "xterm", COLUMNS: "80", LINES: "24" });
  assert.match(shown, /Running on hello as run\.1234\.\r\n\$ $/);
});
