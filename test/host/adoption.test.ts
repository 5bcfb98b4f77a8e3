import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { DynoReport } from "../../src/wire/orders.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor } from "./peers.ts";

const RUN_HOST = fileURLToPath(new URL("./run-host.js", import.meta.url));

/** Prints numbered lines for ever, and serves how many. */
const COUNTER = `
let lines = 0;
setInterval(() => console.log("line " + ++lines), 2);
require("http").createServer((request, response) => response.end(String(process.pid))).listen(process.env.PORT);
`;

const answers = (report: DynoReport): Promise<boolean> =>
  new Promise((resolve) => {
    http
      .get({ host: report.address as string, port: report.port as number, agent: false }, (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode === 200));
      })
      .on("error", () => resolve(false));
  });

describe("a host that is killed", needsRoot, () => {
  let home: Home;
  let control: ControlPeer;
  let log: LogPeer;
  let host: ChildProcess | null = null;

  const startHost = (): ChildProcess => {
    const env = { PATH: process.env.PATH, SLUICE_STOP_SECONDS: "2", ...home.env };
    return spawn(process.execPath, [RUN_HOST], { env, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  };
  const exit = (child: ChildProcess): Promise<unknown> =>
    new Promise((resolve) => child.once("exit", resolve));

  before(async () => {
    home = makeHome();
    control = await ControlPeer.open(home.layout);
    log = await LogPeer.open(home.layout);
  });
  after(async () => {
    if (host) {
      const gone = exit(host);
      host.send("stop");
      await gone;
    }
    const left = (folder: string, name: string): string[] =>
      existsSync(folder) ? readdirSync(folder).filter((entry) => entry.includes(name)) : [];
    assert.deepEqual(left("/run/netns", home.layout.mark), []);
    assert.deepEqual(left("/sys/fs/cgroup/pids", home.layout.mark), []);
    assert.deepEqual(left("/sys/class/net", home.layout.mark.slice(0, 8)), []);
    assert.equal(readFileSync("/proc/mounts", "utf8").includes(home.folder), false);
    control.close();
    log.close();
    home.remove();
  });

  test("its dynos go on serving, its successor adopts them, none is started twice and no line is lost", async () => {
    host = startHost();
    const slug = control.slug({ "counter.js": COUNTER });
    control.order(orderFor("a1", "web.1", "exec node counter.js", { slug }));
    control.order(orderFor("a2", "worker.1", "echo in; while :; do sleep 0.1; done"));
    control.order(orderFor("a3", "run.1", "sleep 0.6; echo late; exit 9", { kind: "run" }));
    const up = await control.report("a1", "up");
    await control.report("a2", "up");
    await control.report("a3", "up");
    await log.line("web.1", "line 20");

    let gone = exit(host);
    host.kill("SIGKILL");
    await gone;
    await control.until("the link's end", () => control.links.length === 0);
    assert.equal(await answers(up), true, "a dyno serves without its host");

    const seen = control.inventories.length;
    const count = log.texts("web.1").filter((text) => text.startsWith("line ")).length;
    host = startHost();
    const inventory = await control.until("inventory", () => control.inventories[seen]);
    const states = new Map(inventory.dynos.map((dyno) => [dyno.dyno, dyno]));
    assert.equal(states.get("a1")?.state, "up");
    assert.equal(states.get("a1")?.address, up.address);
    assert.equal(states.get("a1")?.port, up.port);
    assert.equal(states.get("a2")?.state, "up");
    const late = await control.until("the one-off's end", () =>
      [...control.reports, ...inventory.dynos].find(
        ({ dyno, state }) => dyno === "a3" && state === "complete",
      ),
    );
    assert.equal(late.status, 9, "a status that was written while the host was away is kept");
    await log.line("run.1", "late");
    await log.until("lines after adoption", () => log.texts("web.1").includes(`line ${count + 100}`));
    assert.equal(await answers(up), true);

    for (const dyno of ["web.1", "worker.1", "run.1"]) {
      assert.equal(log.texts(dyno).filter((text) => text.startsWith("Starting process")).length, 1);
    }
    const numbers = log
      .texts("web.1")
      .filter((text) => text.startsWith("line "))
      .map((text) => Number(text.slice(5)));
    const missing = Array.from({ length: count + 100 }, (_, index) => index + 1).filter(
      (n) => !numbers.includes(n),
    );
    assert.deepEqual(missing, [], "lines lost");

    // A stop begun before a kill is finished by the next.
    control.stop("a1");
    control.stop("a2");
    control.stop("a3");
    await control.report("a1", "down");
    await control.report("a2", "down");
    gone = exit(host);
    host.kill("SIGKILL");
    await gone;
    host = startHost();
    const last = await control.until("inventory", () => control.inventories[seen + 1]);
    assert.deepEqual(last.dynos, []);
  });
});
