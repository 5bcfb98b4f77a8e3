import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { APP_FORGET } from "../../src/wire/orders.ts";
import { ControlPeer, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

process.env.SLUICE_STOP_SECONDS = "1";
const { startHost } = await import("../../src/host/host.ts");

/** Names in a folder, without what is made ahead. */
const list = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith(".blank")) : [];

test(
  "a destroyed app leaves nothing on the host, and a stopped host nothing on the machine",
  needsRoot,
  async () => {
    const home = makeHome();
    const control = await ControlPeer.open(home.layout);
    const log = await LogPeer.open(home.layout);
    const host = await startHost(home.config, home.layout);
    const { mark } = home.layout;
    const at = (name: string): string[] => list(path.join(home.layout.host, name));
    const app = "6f1ad3ae-58c5-4a8b-9a2c-000000000001";
    const uid = 200_300;
    try {
      const old = control.slug({ "a.txt": "one" });
      const slug = control.slug({ "a.txt": "two" });
      control.order(orderFor("old", "run.1", "true", { kind: "run", app, uid, slug: old }));
      await control.report("old", "complete");
      control.stop("old");
      const other = control.slug({ "a.txt": "other" });
      control.order(orderFor("o1", "worker.1", "sleep 1000", { slug: other }));
      control.order(
        orderFor("f1", "worker.1", "trap '' TERM; echo on; while :; do sleep 0.1; done", { app, uid, slug }),
      );
      await control.report("o1", "up");
      await log.line("worker.1", "on");
      const cache = path.join(home.layout.host, "build-cache", app);
      mkdirSync(cache, { recursive: true });
      writeFileSync(path.join(cache, "kept"), "");
      assert.equal(at("slugs").length, 3);
      const [before] = control.reports.filter(({ dyno, state }) => dyno === "f1" && state === "up");

      // As control does it: the orders are withdrawn, then the app is forgotten, while its dyno still ends.
      control.stop("f1");
      control.send(APP_FORGET, { app, uids: [uid, uid + 1] });
      await control.report("f1", "down");
      await soon("its slugs to be gone", () => at("slugs").length === 1);
      await soon("its cache to be gone", () => at("build-cache").length === 0);
      await soon("its box to be gone", () => at("boxes").length === 1 && at("trash").length === 0);
      const groups = (): string[] =>
        list(`/sys/fs/cgroup/pids/sluice-${mark}`).filter((name) => /^(f1|old)\./.test(name));
      await soon("its cgroups to be gone", () => groups().length === 0);
      const octets = before?.address?.split(".").map(Number) ?? [];
      const index = ((octets[2] ?? 0) % 4) * 256 + (octets[3] ?? 0);
      await soon("its namespace to be gone", () => !list("/run/netns").includes(`sluice-${mark}-${index}`));
      assert.ok(at("slugs")[0]?.startsWith(other.sha256), "another app's slug stays");
      assert.ok(!at("dynos").some((name) => name.startsWith("f1")));
      assert.match(
        spawnSync("iptables-save", { encoding: "utf8" }).stdout,
        new RegExp(`SLUICE-${mark.slice(0, 8)}`),
      );
    } finally {
      await host.stop(true);
      control.close();
      log.close();
    }
    const rules = spawnSync("iptables-save", { encoding: "utf8" }).stdout;
    assert.ok(!rules.includes(mark.slice(0, 8)), "rules are left");
    assert.deepEqual(
      list("/run/netns").filter((name) => name.includes(mark)),
      [],
    );
    assert.deepEqual(
      list("/sys/class/net").filter((name) => name.includes(mark.slice(0, 8))),
      [],
    );
    assert.equal(readFileSync("/proc/mounts", "utf8").includes(home.folder), false);
    assert.equal(readFileSync("/proc/self/cgroup", "utf8").includes(mark), false);
    assert.ok(!existsSync(`/sys/fs/cgroup/pids/sluice-${mark}`));
    home.remove();
  },
);
