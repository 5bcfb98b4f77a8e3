import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { test } from "node:test";
import { atEnd } from "../at-end.ts";
import { failToStart, needsRoot, ownEnvironment, ownFolder, startSluice } from "./sluice.ts";

/** One clear sentence on standard error, nothing on standard output, and exit status 1. */
function assertRefused(
  ran: { status: number | null; stdout: string; stderr: string },
  sentence: RegExp,
): void {
  const lines = ran.stderr.split("\n").filter((line) => line && !/not started as root/.test(line));
  assert.equal(lines.length, 1, ran.stderr);
  assert.match(lines[0]!, sentence);
  assert.equal(ran.stdout, "");
  assert.equal(ran.status, 1);
}

test("a port that is taken: one sentence that names it and its variable", async (t) => {
  const folder = ownFolder(t);
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  atEnd(t, () => server.close());
  const { port } = server.address() as net.AddressInfo;
  const env: NodeJS.ProcessEnv = { ...ownEnvironment(folder), SLUICE_API_PORT: String(port) };
  assertRefused(
    await failToStart(folder, env),
    new RegExp(`^sluice: Port ${port} on 127.0.0.1 is already taken: .*SLUICE_API_PORT`),
  );
  assert.equal(existsSync(path.join(env.SLUICE_HOME!, "lock")), false);
});

test("a data directory of a newer version: one sentence, and nothing in it is touched", async (t) => {
  const folder = ownFolder(t);
  const env = ownEnvironment(folder);
  mkdirSync(env.SLUICE_HOME!);
  writeFileSync(path.join(env.SLUICE_HOME!, "version"), "7\n");
  assertRefused(
    await failToStart(folder, env),
    /^sluice: SLUICE_HOME .* was made by a newer Sluice \(its version is 7, this one knows 1\)/,
  );
  assert.deepEqual(readdirSync(env.SLUICE_HOME!), ["version"]);
});

test("a setting that cannot be used: one sentence that names the variable", async (t) => {
  const folder = ownFolder(t);
  const env: NodeJS.ProcessEnv = { ...ownEnvironment(folder), SLUICE_EDGE_PORT: "http" };
  assertRefused(
    await failToStart(folder, env),
    /^sluice: SLUICE_EDGE_PORT is "http"; it must be a whole number from 0 to 65535\.$/,
  );
  assert.equal(existsSync(env.SLUICE_HOME!), false);
});

test("a full disk: one sentence", { skip: needsRoot }, async (t) => {
  const folder = ownFolder(t);
  const env = ownEnvironment(folder);
  const disk = path.join(folder, "disk");
  mkdirSync(disk);
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=12m", "tmpfs", disk]).status, 0);
  atEnd(t, () => spawnSync("umount", [disk]));
  env.SLUICE_HOME = path.join(disk, "home");
  assertRefused(await failToStart(folder, env), /^sluice: The disk that holds .* is full/);
  assert.equal(existsSync(path.join(env.SLUICE_HOME, "pg")), false);
});

test("a second start on the same home: one sentence, and the first one goes on", async (t) => {
  const sluice = await startSluice(t);
  assertRefused(
    await failToStart(sluice.folder, {
      ...ownEnvironment(sluice.folder),
      HOME: path.join(sluice.folder, "other"),
    }),
    new RegExp(
      `^sluice: Sluice already runs on ${sluice.home} \\(process ${sluice.child.pid}\\): stop that one first`,
    ),
  );
  assert.equal((await fetch(new URL("/health", sluice.api))).status, 200);
});
