import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { test } from "node:test";
import { ControlPeer, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

process.env.SLUICE_DISK_RESERVE = "40";
process.env.SLUICE_STOP_SECONDS = "1";
const { startHost } = await import("../../src/host/host.ts");

test("a dyno that fills the disk is ended and its writes are gone; others go on", needsRoot, async () => {
  // A disk of this test's own.
  const disk = mkdtempSync("/tmp/sluice-disk-");
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=128m,mode=755", "tmpfs", disk]);
  process.env.TMPDIR = disk;
  const home = makeHome();
  const control = await ControlPeer.open(home.layout);
  const log = await LogPeer.open(home.layout);
  const host = await startHost(home.config, home.layout);
  try {
    const fill = "dd if=/dev/zero of=/tmp/big bs=1M count=1000; echo full; sleep 1000";
    control.order(orderFor("q1", "worker.1", "echo small >/tmp/small; sleep 1000"));
    await control.report("q1", "up");
    control.order(
      orderFor("f1", "worker.2", fill, { limits: { memoryBytes: 512 << 20, processes: 64, cpuShares: 1 } }),
    );
    const crash = await control.report("f1", "crashed");
    assert.equal(crash.status, 137);
    await log.line("worker.2", /^Error R99 .*disk is nearly full, and this dyno has written \d+ MB/);
    control.stop("f1");
    await control.report("f1", "down");
    await soon("the disk to be free again", () => {
      const { bavail, bsize } = statfsSync(disk);
      return bavail * bsize > 100 * 1024 * 1024;
    });
    assert.ok(
      !control.reports.some(({ dyno, state }) => dyno === "q1" && state !== "up" && state !== "starting"),
    );
    control.stop("q1");
  } finally {
    await host.stop(true);
    control.close();
    log.close();
    home.remove();
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  }
});
