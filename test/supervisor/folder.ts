import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { atEnd } from "../at-end.ts";

/** A folder of this test's own, gone when it ends. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-test-"));
  atEnd(t, () => {
    // A test may have mounted a disk of its own there.
    if (isRoot) spawnSync("umount", ["--quiet", folder]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  return folder;
}

export const isRoot = process.getuid?.() === 0;

/** Reason to skip what needs root, on a machine of a user; in the full run nothing is skipped. */
export const needsRoot = isRoot || process.env.SLUICE_TEST_FULL === "1" ? false : "needs root";
