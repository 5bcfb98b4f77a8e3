import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sluice } from "./sluice.ts";

test("docs/cli.md is what the command says of itself", async () => {
  const { out, status } = await sluice(["manual"]);
  assert.equal(status, 0);
  const page = readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8");
  assert.equal(page, out, "make it anew: npx sluice manual > docs/cli.md");
});
