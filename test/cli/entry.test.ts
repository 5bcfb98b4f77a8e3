import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../src/main.js", import.meta.url));

function run(args: string[], env: NodeJS.ProcessEnv = {}) {
  const result = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, ...env },
  });
  return { status: result.status, out: result.stdout, err: result.stderr };
}

test("a part alone says in one line why it cannot start", () => {
  const away = run(["edge"], { SLUICE_HOME: "/nonexistent/home" });
  assert.equal(away.status, 1);
  assert.match(away.err, /^sluice: edge 1: The data directory \/nonexistent\/home is not there;.*\n$/);
  const bad = run(["control"], { SLUICE_API_PORT: "http" });
  assert.equal(bad.status, 1);
  const runtime = run(["host"], { SLUICE_RUNTIME: "docker" });
  assert.equal(runtime.status, 1);
  assert.match(runtime.err, /^sluice: host: SLUICE_RUNTIME is "docker"; .* leave it out\.\n$/);
  assert.match(bad.err, /^sluice: control: SLUICE_API_PORT is "http"; .*\n$/);
});

test("a part refuses arguments that it does not know", () => {
  const home = mkdtempSync(path.join(tmpdir(), "sluice-entry-"));
  try {
    for (const args of [
      ["edge", "zero"],
      ["edge", "1", "2"],
      ["host", "now"],
    ]) {
      const result = run(args, { SLUICE_HOME: home });
      assert.equal(result.status, 1, args.join(" "));
      assert.match(result.err, /^sluice: (edge \w+|host): `sluice \w+` takes .*\n$/);
    }
  } finally {
    rmSync(home, { recursive: true });
  }
});
