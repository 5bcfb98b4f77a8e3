import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Network } from "../../src/host/box/network.ts";
import { needsRoot } from "./peers.ts";

test("Sluices that start at once take different slices of the net", needsRoot, async () => {
  const marks = Array.from({ length: 4 }, () => randomBytes(6).toString("hex"));
  const networks = await Promise.all(marks.map((mark) => Network.open(mark, "10.243.0.0/16", [], [])));
  try {
    assert.equal(new Set(networks.map(({ gateway }) => gateway)).size, networks.length);
  } finally {
    await Promise.all(networks.map((network) => network.close()));
  }
});
