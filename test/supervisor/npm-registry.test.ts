import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { npmRegistry } from "../../src/supervisor/npm-registry.ts";

test("builds get the registry that the operator's npm uses", async (t) => {
  const home = mkdtempSync(path.join(tmpdir(), "sluice-test-npm-"));
  t.after(() => rmSync(home, { recursive: true }));
  writeFileSync(path.join(home, ".npmrc"), "registry=http://127.0.0.1:1/packages/\n");
  assert.equal(await npmRegistry({ PATH: process.env.PATH, HOME: home }), "http://127.0.0.1:1/packages/");
  assert.equal(
    await npmRegistry({ PATH: process.env.PATH, HOME: home, npm_config_registry: "http://127.0.0.1:2/" }),
    "http://127.0.0.1:2/",
  );
  assert.equal(await npmRegistry({ PATH: home, HOME: home }), null);
});
