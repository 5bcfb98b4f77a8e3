import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import { checkout } from "../../src/supervisor/checkout.ts";
import { atEnd } from "../at-end.ts";
import { ownEnvironment, ownFolder, processesWith, Sluice, startSluice, until } from "./sluice.ts";

/** Everything on this machine that carries the home's mark: mounts, cgroups, network devices, chains, namespaces. */
function leavings(sluice: Sluice, mark: string): string[] {
  const short = mark.slice(0, 8);
  const found: string[] = processesWith(sluice.home);
  const look = (what: string, text: string): void => {
    for (const line of text.split("\n"))
      if (line.includes(short) || line.includes(sluice.home)) found.push(`${what}: ${line}`);
  };
  look("mount", readFileSync("/proc/self/mountinfo", "utf8"));
  look(
    "cgroup",
    spawnSync("find", ["/sys/fs/cgroup", "-maxdepth", "3", "-type", "d"], { encoding: "utf8" }).stdout ?? "",
  );
  if (process.getuid?.() === 0) {
    look("device", spawnSync("ip", ["-o", "link"], { encoding: "utf8" }).stdout ?? "");
    look("namespace", spawnSync("ip", ["netns"], { encoding: "utf8" }).stdout ?? "");
    for (const table of ["filter", "nat"]) {
      look("chain", spawnSync("iptables", ["-w", "-t", table, "-S"], { encoding: "utf8" }).stdout ?? "");
    }
  }
  return found;
}

test("Ctrl-C to the whole group, and again, ends everything with status 0 and leaves nothing behind", async (t) => {
  const sluice = await startSluice(t);
  const mark = createHash("sha256").update(realpathSync(sluice.home)).digest("hex").slice(0, 12);
  await sluice.deploy("hello", "node-hello");
  await until(async () => (await sluice.get("hello")).status === 200, "the app");
  const pids = [...sluice.parts().keys()];
  const titles = [...sluice.parts().values()].map((title) => title.replace(/ \d+$/, "")).sort();
  assert.deepEqual([...new Set(titles)], ["control", "edge", "host", "logplex"]);
  assert.equal(
    readFileSync(`/proc/${sluice.child.pid}/cmdline`, "utf8").replace(/\0+$/, ""),
    "sluice: supervisor",
  );

  const started = Date.now();
  const stopped = sluice.stop("SIGINT");
  process.kill(-sluice.child.pid!, "SIGTERM");
  assert.equal(await stopped, 0, sluice.stderr);
  t.diagnostic(`stop took ${Date.now() - started} ms`);
  for (const pid of pids) assert.equal(existsSync(`/proc/${pid}`), false);
  assert.deepEqual(leavings(sluice, mark), []);
  assert.equal(sluice.stdout.split("\n").length, 2, "standard output is the ready line alone");
});

test("`npm start` on a terminal: a Ctrl-C ends it cleanly though it comes from the terminal and from npm", async (t) => {
  const folder = ownFolder(t);
  const env = ownEnvironment(folder);
  mkdirSync(env.HOME!);
  const terminal = spawnTerminal("npm", ["start"], {
    cwd: checkout,
    env: env as Record<string, string>,
    cols: 300,
  });
  atEnd(t, () => terminal.kill("SIGKILL"));
  let seen = "";
  terminal.onData((data) => {
    seen += data;
  });
  const exited = new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
  await until(
    () => /ready edge=\S+ .*key=\S+/.test(seen),
    "the ready line",
    60_000,
    () => seen,
  );
  terminal.write("\x03");
  assert.equal(await exited, 0, seen);
  assert.deepEqual(processesWith(path.join(folder, "home")), []);
});

test("a second Ctrl-C on a terminal ends all at once, dynos that hold on to life too", async (t) => {
  const folder = ownFolder(t);
  const env = ownEnvironment(folder);
  mkdirSync(env.HOME!);
  const start = path.join(checkout, "bin", "start.js");
  const terminal = spawnTerminal(process.execPath, [start, "up"], {
    cwd: folder,
    env: env as Record<string, string>,
    cols: 300,
  });
  atEnd(t, () => terminal.kill("SIGKILL"));
  let seen = "";
  terminal.onData((data) => {
    seen += data;
  });
  const exited = new Promise<void>((resolve) => terminal.onExit(() => resolve()));
  await until(
    () => /^ready edge=.*$/m.test(seen),
    "the ready line",
    60_000,
    () => seen,
  );
  const sluice = Sluice.running(folder, env, seen);
  await sluice.deploy("stubborn", "", {
    "package.json": JSON.stringify({ name: "stubborn", version: "1.0.0" }),
    Procfile: "web: node index.js\n",
    "index.js": `
      process.on("SIGTERM", () => {});
      require("node:http").createServer((request, response) => response.end("here")).listen(process.env.PORT);`,
  });
  await until(async () => (await sluice.get("stubborn")).status === 200, "the app");
  const started = Date.now();
  terminal.write("\x03");
  // A person's second one: later than the copy of the first that npm would send.
  await new Promise((later) => setTimeout(later, 1000));
  terminal.write("\x03");
  await exited;
  t.diagnostic(`ended ${Date.now() - started} ms after the first Ctrl-C`);
  assert.ok(Date.now() - started < 25_000, "it did not wait for the dynos' 30 s");
  assert.deepEqual(processesWith(path.join(folder, "home")), []);
});
