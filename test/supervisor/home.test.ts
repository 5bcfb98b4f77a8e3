import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { layoutOf } from "../../src/config/layout.ts";
import {
  HOME_VERSION,
  keepApiKey,
  makeFolders,
  makeSocketFolder,
  openHome,
} from "../../src/supervisor/home.ts";
import { lockHome } from "../../src/supervisor/lock.ts";
import { isRoot, needsRoot, temporaryFolder } from "./folder.ts";

test("a new home is made with its version and one private folder an owner", (t) => {
  const home = path.join(temporaryFolder(t), "deep", "home");
  openHome(home, false);
  const layout = layoutOf(home);
  makeFolders(layout, null);
  assert.equal(readFileSync(path.join(home, "version"), "utf8"), `${HOME_VERSION}\n`);
  for (const name of ["control", "slugs", "edge", "logplex", "host"]) {
    assert.equal(statSync(path.join(home, name)).mode & 0o777, 0o700, name);
  }
  assert.equal(statSync(home).mode & 0o777, 0o700);
  openHome(home, false);
});

test("a home of a newer version is refused and left as it was", (t) => {
  const home = temporaryFolder(t);
  writeFileSync(path.join(home, "version"), `${HOME_VERSION + 1}\n`);
  assert.throws(
    () => openHome(home, isRoot),
    /made by a newer Sluice \(its version is 2, this one knows 1\)/,
  );
  assert.equal(readFileSync(path.join(home, "version"), "utf8"), `${HOME_VERSION + 1}\n`);
});

test("a folder with other people's files is not taken for a home", (t) => {
  const home = temporaryFolder(t);
  writeFileSync(path.join(home, "letter.txt"), "mine");
  const mode = statSync(home).mode;
  assert.throws(() => openHome(home, isRoot), /was not made by Sluice: name an empty or a new folder/);
  assert.equal(statSync(home).mode, mode);
});

test("a home on a full disk is refused in one sentence", { skip: needsRoot }, (t) => {
  const disk = temporaryFolder(t);
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]).status, 0);
  assert.throws(
    () => openHome(path.join(disk, "home"), true),
    /^StartError: The disk that holds .* is full \(\d MB are free/,
  );
});

test("a home of another user is refused", { skip: needsRoot }, (t) => {
  const home = path.join(temporaryFolder(t), "theirs");
  mkdirSync(home);
  spawnSync("chown", ["65534", home]);
  assert.throws(() => openHome(home, true), /belongs to another user \(65534\)/);
});

test("the API key is made once, kept alone at 0600, and gives way to the operator's", (t) => {
  const home = temporaryFolder(t);
  openHome(home, isRoot);
  const layout = layoutOf(home);
  const made = keepApiKey(layout, undefined);
  assert.match(made, /^[\w-]{43}$/);
  assert.equal(keepApiKey(layout, undefined), made);
  assert.equal(statSync(layout.apiKeyFile).mode & 0o777, 0o600);
  assert.equal(keepApiKey(layout, "operators-own"), "operators-own");
  assert.equal(readFileSync(layout.apiKeyFile, "utf8"), "operators-own\n");
});

test("a socket folder with too long a name, or another user's, is refused", (t) => {
  const base = temporaryFolder(t);
  assert.throws(() => makeSocketFolder(path.join(base, "x".repeat(100)), null), /too long a name/);
  makeSocketFolder(path.join(base, "s"), null);
  assert.equal(statSync(path.join(base, "s")).mode & 0o777, 0o700);
});

test("a home is one Sluice's at a time; the lock of a dead one is taken over", async (t) => {
  const home = temporaryFolder(t);
  const unlock = lockHome(home);
  assert.throws(() => lockHome(home), new RegExp(`already runs on ${home} \\(process ${process.pid}\\)`));
  unlock();
  // A process id that was used again: same number, another start time.
  writeFileSync(path.join(home, "lock"), `${process.pid} 1`);
  lockHome(home)();
  // One that is gone, and one that was cut short while writing.
  const gone = spawnSync("true").pid;
  writeFileSync(path.join(home, "lock"), `${gone} 12345`);
  lockHome(home)();
  writeFileSync(path.join(home, "lock"), "");
  lockHome(home)();
});
