import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BUILD_ORDER, type BuildOrder, type DynoOrder } from "../../src/wire/orders.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

const RUN_HOST = fileURLToPath(new URL("./run-host.js", import.meta.url));
const MIB = 1024 * 1024;

/** Command lines of this machine's processes that hold `text`. */
const running = (text: string): string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      } catch {
        return "";
      }
    })
    .filter((line) => line === text);

describe("a host that is killed at a bad moment", needsRoot, () => {
  let home: Home;
  let packs: string;
  let control: ControlPeer;
  let log: LogPeer;
  let host: ChildProcess;
  let serial = 0;

  const start = (): void => {
    const env = { PATH: process.env.PATH, SLUICE_STOP_SECONDS: "2", ...home.env };
    host = spawn(process.execPath, [RUN_HOST], { env, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  };
  const kill = async (): Promise<void> => {
    const gone = new Promise((exit) => host.once("exit", exit));
    host.kill("SIGKILL");
    await gone;
    await control.until("the link's end", () => control.links.length === 0);
  };
  /** The inventory of the host that was started after `seen` others. */
  const inventory = (seen: number) => control.until("inventory", () => control.inventories[seen]);
  /** A command of its own, to be counted among the machine's processes. */
  const unique = (): string => `sleep 86400.${process.pid}${++serial}`;

  before(async () => {
    packs = mkdtempSync("/tmp/sluice-packs-");
    home = makeHome({ SLUICE_BUILDPACK_PATH: packs });
    control = await ControlPeer.open(home.layout);
    log = await LogPeer.open(home.layout);
    start();
    await inventory(0);
  });
  after(async () => {
    const gone = new Promise((exit) => host.once("exit", exit));
    host.send("stop");
    await gone;
    const left = (folder: string, name: string): string[] =>
      existsSync(folder) ? readdirSync(folder).filter((entry) => entry.includes(name)) : [];
    assert.deepEqual(left("/run/netns", home.layout.mark), []);
    assert.deepEqual(left("/sys/fs/cgroup/pids", home.layout.mark), []);
    assert.deepEqual(left("/sys/class/net", home.layout.mark.slice(0, 8)), []);
    assert.equal(readFileSync("/proc/mounts", "utf8").includes(home.folder), false);
    assert.deepEqual(
      readdirSync(home.layout.host).filter((name) => name !== "slugs"),
      [],
    );
    control.close();
    log.close();
    home.remove();
    execFileSync("rm", ["-rf", packs]);
  });

  test("while dynos are just starting: each runs once in the end", async () => {
    const orders: [DynoOrder, string][] = [];
    for (const pause of [0, 4, 8, 12, 16, 24, 32, 48]) {
      const command = unique();
      const order = orderFor(`s${++serial}`, `worker.${serial}`, `exec ${command}`);
      orders.push([order, command]);
      const seen = control.inventories.length;
      control.order(order);
      await delay(pause);
      await kill();
      start();
      await inventory(seen);
    }
    for (const [order, command] of orders) {
      await control.until(`${order.dyno} up`, () =>
        [...control.reports, ...(control.inventories.at(-1)?.dynos ?? [])].some(
          ({ dyno, state }) => dyno === order.dyno && state === "up",
        ),
      );
      await soon(`${command} to run`, () => running(command).length > 0);
    }
    // What a killed host left half started must not come up beside it.
    await delay(300);
    for (const [, command] of orders) assert.equal(running(command).length, 1, command);
    for (const [order] of orders) control.stop(order.dyno);
    for (const [order, command] of orders) {
      await control.report(order.dyno, "down");
      assert.equal(running(command).length, 0);
    }
  });

  test("while one is being stopped: its successor finishes the stop", async () => {
    const command = unique();
    control.order(orderFor("t1", "worker.90", `trap '' TERM; ${command} & echo on; wait; ${command}`));
    await log.line("worker.90", "on");
    control.stop("t1");
    await log.line("worker.90", "Stopping all processes with SIGTERM");
    const seen = control.inventories.length;
    await kill();
    start();
    await inventory(seen);
    await control.report("t1", "down");
    assert.equal(running(command).length, 0);
    assert.deepEqual(log.texts("worker.90").filter((text) => text.startsWith("Starting process")).length, 1);
  });

  test("twice in a row, the second before it has adopted anything: nothing is started twice or lost", async () => {
    const command = unique();
    control.order(orderFor("d1", "worker.91", `exec ${command}`));
    await log.line("worker.91", /^Starting process/);
    await control.report("d1", "up");
    for (const pause of [100, 200, 300, 400]) {
      await kill();
      start();
      await delay(pause);
      // It may have a link by now, or not.
      const gone = new Promise((exit) => host.once("exit", exit));
      host.kill("SIGKILL");
      await gone;
      await control.until("no link", () => control.links.length === 0);
      const seen = control.inventories.length;
      start();
      const { dynos } = await inventory(seen);
      assert.deepEqual(
        dynos.map(({ dyno, state }) => [dyno, state]),
        [["d1", "up"]],
      );
      assert.equal(running(command).length, 1);
    }
    assert.equal(log.texts("worker.91").filter((text) => text.startsWith("Starting process")).length, 1);
    control.stop("d1");
    await control.report("d1", "down");
  });

  test("while a build runs: its processes and files are gone, and the inventory has it no more", async () => {
    const command = unique();
    const pack = path.join(packs, "slow");
    mkdirSync(path.join(pack, "bin"), { recursive: true });
    writeFileSync(path.join(pack, "bin/detect"), "#!/bin/sh\necho Slow\n", { mode: 0o755 });
    writeFileSync(
      path.join(pack, "bin/compile"),
      `#!/bin/sh\n(setsid ${command} &)\necho working\n${command}\n`,
      {
        mode: 0o755,
      },
    );
    const order: BuildOrder = {
      build: "11111111-2222-4333-8444-555555555555",
      app: "6f1ad3ae-58c5-4a8b-9a2c-000000000002",
      appName: "slow",
      uid: 200_401,
      dynoUid: 200_400,
      stack: "heroku-22",
      env: {},
      operatorEnv: {},
      sourceVersion: "1",
      requestId: "r",
      buildpacks: [{ name: "slow", shipped: pack, stream: null }],
      source: "source",
      output: "output",
      slug: "slug",
      clampTime: 0,
      timeoutSeconds: 60,
      clearCache: false,
      limits: { memoryBytes: 512 * MIB, processes: 64, cpuShares: 1 },
    };
    control.send(BUILD_ORDER, order);
    const output = await control.until("output", () => control.streams.get("output"));
    let text = "";
    output.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    const source = await control.until("source", () => control.streams.get("source"));
    source.end(execFileSync("tar", ["-cf", "-", "-C", pack, "."]));
    await soon("the build to work", () => text.includes("working"));
    await soon("its daemon", () => running(command).length === 2);
    const closed = new Promise((resolve) => output.once("close", resolve));
    const seen = control.inventories.length;
    await kill();
    // Control ends the build as failed when this stream ends without a result (test/builds).
    start();
    const { builds } = await inventory(seen);
    assert.deepEqual(builds, []);
    assert.equal(running(command).length, 0);
    await closed;
    const at = (name: string): string[] =>
      readdirSync(path.join(home.layout.host, name)).filter((entry) => !entry.startsWith(".blank"));
    await soon(
      "its files to be gone",
      () => at("slugs").length + at("boxes").length === 0,
      5000,
      () => [...at("slugs"), ...at("boxes")].join(" "),
    );
  });
});
