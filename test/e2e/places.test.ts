import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { resolvePorts } from "../../src/supervisor/ports.ts";
import { reachableByAll } from "../../src/supervisor/reach.ts";
import { makeSystemUsers } from "../../src/supervisor/system-users.ts";
import { atEnd } from "../at-end.ts";
import { cloneTo } from "./clone.ts";
import { isRoot, needsRoot, ownFolder, type Sluice, startSluice, until } from "./sluice.ts";

async function assertServes(sluice: Sluice): Promise<void> {
  await sluice.deploy("hello", "node-hello");
  await until(
    async () => (await sluice.get("hello")).status === 200,
    "the app",
    60_000,
    () => sluice.stderr,
  );
  assert.match((await sluice.get("hello")).body, /^Hello from web\.1/);
}

test("a clone and a home below /root, which other users cannot walk to", { skip: needsRoot }, async (t) => {
  const folder = mkdtempSync("/root/sluice-e2e-");
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }));
  assert.equal(reachableByAll(folder), false, "/root is private on this machine");
  cloneTo(folder);
  const sluice = await startSluice(t, { folder, checkout: folder });
  await assertServes(sluice);
  assert.equal(await sluice.stop(), 0);
});

const DEBIANS = "/usr/lib/postgresql";
const debians = existsSync(DEBIANS) ? path.join(DEBIANS, readdirSync(DEBIANS).sort().at(-1)!, "bin") : null;
const noDebians =
  debians || process.env.SLUICE_TEST_FULL === "1" ? false : "needs Debian's package postgresql";

test("the operator's store: Debian's PostgreSQL by DATABASE_URL", { skip: noDebians }, async (t) => {
  assert.ok(debians, "Debian's postgresql is installed");
  const url = await operatorsStore(t, debians);
  const sluice = await startSluice(t, { env: { DATABASE_URL: url } });
  await assertServes(sluice);
  assert.equal(existsSync(path.join(sluice.home, "pg")), false, "no private store was made");
  const said = sluice.stderr + (await sluice.must(["logs", "-a", "hello"]));
  assert.doesNotMatch(said, /operators-password/);
  assert.equal(await sluice.stop(), 0);
});

/** A server as an operator has one: TCP with a password. */
async function operatorsStore(t: TestContext, bin: string): Promise<string> {
  const folder = ownFolder(t);
  const user = isRoot ? makeSystemUsers().sluice : undefined;
  if (user) chownSync(folder, user.uid, user.gid);
  const data = path.join(folder, "data");
  const passwordFile = path.join(folder, "password");
  writeFileSync(passwordFile, "operators-password\n", { mode: 0o644 });
  const made = spawnSync(
    path.join(bin, "initdb"),
    ["-D", data, "--username=operator", "--auth=scram-sha-256", `--pwfile=${passwordFile}`, "--no-sync"],
    { ...user, cwd: folder, encoding: "utf8" },
  );
  assert.equal(made.status, 0, made.stderr);
  const setting = { variable: "PORT", hostVariable: null, host: "127.0.0.1", port: 0 };
  const { PORT } = await resolvePorts([setting]);
  const server: ChildProcess = spawn(
    path.join(bin, "postgres"),
    [
      "-D",
      data,
      "-p",
      String(PORT),
      "-c",
      "listen_addresses=127.0.0.1",
      "-c",
      `unix_socket_directories=${folder}`,
    ],
    { ...user, cwd: folder, stdio: ["ignore", "ignore", "pipe"] },
  );
  atEnd(t, async () => {
    server.kill("SIGINT");
    if (server.exitCode === null) await new Promise((exit) => server.once("exit", exit));
  });
  let log = "";
  server.stderr!.on("data", (chunk) => {
    log += chunk;
  });
  await until(
    () => log.includes("ready to accept connections"),
    "the operator's store",
    30_000,
    () => log,
  );
  return `postgresql://operator:operators-password@127.0.0.1:${PORT}/postgres`;
}
