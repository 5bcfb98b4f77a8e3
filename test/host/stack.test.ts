import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { startHost } from "../../src/host/host.ts";
import { ControlPeer, LogPeer, makeHome, orderFor } from "./peers.ts";

// Half a minute of packages: only where nothing may be left out.
const skip = process.env.SLUICE_TEST_FULL === "1" ? false : "makes a Debian 13 in the full run only";

test("SLUICE_STACK_DIR: boxes stand on a Debian 13 of their own, not on the machine's files", {
  skip,
}, async () => {
  const folder = mkdtempSync("/var/tmp/sluice-stack-");
  const tree = path.join(folder, "tree");
  const made = spawnSync("debootstrap", ["--variant=minbase", "trixie", tree], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stdout.slice(-2000) + made.stderr);
  const home = makeHome({ SLUICE_STACK_DIR: tree });
  const control = await ControlPeer.open(home.layout);
  const log = await LogPeer.open(home.layout);
  const host = await startHost(home.config, home.layout);
  try {
    const slug = control.slug({ mark: "of the slug" });
    const command =
      "cat /etc/debian_version; cat /app/mark; echo; ls -d /usr/sbin/debootstrap; touch /usr/x; id -un; perl -e 'print qq(perl $^V\\n)'";
    control.order(orderFor("v1", "run.1", command, { kind: "run", slug, stack: "heroku-24" }));
    const done = await control.report("v1", "complete");
    assert.equal(done.status, 0);
    await log.line("run.1", /^13(\.\d+)?$/);
    await log.line("run.1", "of the slug");
    await log.line("run.1", /cannot access '\/usr\/sbin\/debootstrap'/);
    await log.line("run.1", /cannot touch '\/usr\/x'/);
    await log.line("run.1", "app");
    await log.line("run.1", /^perl v5\.40/);
    control.stop("v1");
    // As web apps do: it listens, and is reached.
    const serve =
      "exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c qq(hi); close $c }'";
    control.order(orderFor("v2", "web.1", serve, { slug }));
    assert.equal((await control.report("v2", "up")).state, "up");
    control.stop("v2");
    await control.report("v2", "down");
  } finally {
    await host.stop(true);
    control.close();
    log.close();
    home.remove();
    rmSync(folder, { recursive: true, force: true });
  }
});
