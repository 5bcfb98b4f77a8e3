import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import type { Part } from "../../src/config/part.ts";
import { startHost } from "../../src/host/host.ts";
import { DYNO_RESTART, DYNO_SIGNAL, type DynoReport } from "../../src/wire/orders.ts";
import { Source } from "../../src/wire/source.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

const SERVER = `
const fs = require("fs");
let body = "none";
try { body = fs.readFileSync("/app/mark", "utf8"); } catch {}
require("http").createServer((request, response) => {
  if (request.url === "/write") fs.writeFileSync("/app/mark", process.env.DYNO);
  if (request.url === "/read") { try { body = fs.readFileSync("/app/mark", "utf8"); } catch { body = "none"; } }
  response.end(body);
}).listen(process.env.PORT, () => console.log("listening as", process.env.DYNO, process.env.GREETING));
process.on("SIGTERM", () => { console.log("got SIGTERM"); process.exit(0); });
`;

const fetch = (report: DynoReport, url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    http
      .get(
        { host: report.address as string, port: report.port as number, path: url, agent: false },
        (answer) => {
          let text = "";
          answer.on("data", (chunk) => {
            text += chunk;
          });
          answer.on("end", () => resolve(text));
        },
      )
      .on("error", reject);
  });

describe("dynos", needsRoot, () => {
  let home: Home;
  let control: ControlPeer;
  let log: LogPeer;
  let host: Part;

  before(async () => {
    process.env.SLUICE_STOP_SECONDS ??= "1";
    home = makeHome();
    control = await ControlPeer.open(home.layout);
    log = await LogPeer.open(home.layout);
    host = await startHost(home.config, home.layout);
  });
  after(async () => {
    await host.stop();
    assert.deepEqual(
      readdirSync(home.layout.host).filter((name) => name !== "slugs"),
      [],
    );
    control.close();
    log.close();
    home.remove();
  });

  test("a web dyno comes up when it listens, serves, and its writes are its own and gone after", async () => {
    const slug = control.slug({ "server.js": SERVER, ".profile.d/greet.sh": "export GREETING=hi\n" });
    control.order(orderFor("d1", "web.1", "node server.js", { slug }));
    control.order(orderFor("d2", "web.2", "node server.js", { slug }));
    const [one, two] = [await control.report("d1", "up"), await control.report("d2", "up")];
    await log.line("web.1", "listening as web.1 hi");
    await log.line("web.1", "State changed from starting to up");
    assert.deepEqual(log.texts("web.1", Source.Platform), [
      "Starting process with command `node server.js`",
      "State changed from starting to up",
    ]);
    await fetch(one, "/write");
    assert.equal(await fetch(one, "/read"), "web.1");
    assert.equal(await fetch(two, "/read"), "none");

    const seen = control.reports.length;
    control.send(DYNO_RESTART, { dyno: "d1" });
    const again = await control.report("d1", "up", seen);
    assert.equal(again.address, one.address, "a dyno keeps its address over restarts");
    assert.equal(again.port, one.port);
    assert.equal(await fetch(again, "/read"), "none", "a new start has a fresh copy");
    await log.until("the second up", () => log.texts("web.1", Source.Platform).length >= 8);
    assert.deepEqual(log.texts("web.1", Source.Platform).slice(2), [
      "Restarting",
      "State changed from up to starting",
      "Stopping all processes with SIGTERM",
      "Process exited with status 0",
      "Starting process with command `node server.js`",
      "State changed from starting to up",
    ]);
    control.stop("d1");
    await control.report("d1", "down");
    await log.line("web.1", "got SIGTERM");
    control.stop("d2");
    await control.report("d2", "down");
  });

  test("a crashed dyno is restarted at once, then waits; a status of a signal is 128 + its number", async () => {
    control.order(orderFor("c1", "worker.1", "echo working; kill -KILL $$"));
    const first = await control.report("c1", "crashed");
    assert.equal(first.status, 137);
    assert.equal(first.restarts, 0);
    const second = await control.until("second crash", () =>
      control.reports.find(
        ({ dyno, state, restarts }) => dyno === "c1" && state === "crashed" && restarts === 1,
      ),
    );
    assert.equal(second.address, null);
    await log.until("two crashes", () => log.texts("worker.1").length >= 10);
    assert.deepEqual(log.texts("worker.1").slice(0, 9), [
      "Starting process with command `echo working; kill -KILL $$`",
      "State changed from starting to up",
      "working",
      "Process exited with status 137",
      "State changed from up to crashed",
      "State changed from crashed to starting",
      "Starting process with command `echo working; kill -KILL $$`",
      "State changed from starting to up",
      "working",
    ]);
    control.stop("c1");
    await control.report("c1", "down");
  });

  test("a web dyno that listens on loopback alone ends in R10", async () => {
    const command = `node -e 'require("http").createServer().listen(process.env.PORT, "127.0.0.1")'`;
    control.order(orderFor("r10", "web.10", command, { bootSeconds: 1 }));
    const crash = await control.report("r10", "crashed");
    assert.equal(crash.reason, "R10");
    await log.line("web.10", "State changed from starting to crashed");
    assert.deepEqual(log.texts("web.10").slice(1, 5), [
      "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 1 seconds of launch",
      "Stopping process with SIGKILL",
      "Process exited with status 137",
      "State changed from starting to crashed",
    ]);
    control.stop("r10");
    await control.report("r10", "down");
  });

  test("SIGTERM goes to every process; what ignores it is killed after R12", async () => {
    const command = `trap "" TERM; (trap "echo child got TERM; exit" TERM; echo ready; while :; do sleep 0.1; done) & while :; do sleep 0.1; done`;
    control.order(orderFor("r12", "worker.12", command));
    await log.line("worker.12", "ready");
    control.stop("r12");
    await control.report("r12", "down");
    await log.line("worker.12", "Process exited with status 137");
    const texts = log.texts("worker.12");
    assert.ok(texts.includes("child got TERM"));
    assert.deepEqual(texts.slice(-3), [
      `Error R12 (Exit timeout) -> At least one process failed to exit within ${process.env.SLUICE_STOP_SECONDS} seconds of SIGTERM`,
      "Stopping remaining processes with SIGKILL",
      "Process exited with status 137",
    ]);
  });

  test("a dyno that is stopped while its box is still being laid ends at once", async () => {
    for (let n = 0; n < 5; n++) {
      const name = `worker.2${n}`;
      control.order(orderFor(`early-${n}`, name, "exec sleep 1000"));
      await log.line(name, "Starting process with command `exec sleep 1000`");
      control.stop(`early-${n}`);
      await control.report(`early-${n}`, "down");
      assert.ok(!log.texts(name).some((text) => text.includes("R12")), log.texts(name).join("\n"));
    }
  });

  test("a memory hog is ended with R15", async () => {
    const command = `node -e 'const a = []; setInterval(() => a.push(Buffer.alloc(8 << 20, 1)), 5)'`;
    control.order(orderFor("r15", "worker.15", command));
    const crash = await control.report("r15", "crashed");
    assert.equal(crash.reason, "R15");
    await log.line("worker.15", "Error R15 (Memory quota vastly exceeded)");
    const texts = log.texts("worker.15");
    assert.match(
      texts.find((text) => text.startsWith("Process running")) ?? "",
      /^Process running mem=\d+M\(\d+\.\d%\)$/,
    );
    assert.ok(texts.includes("Error R15 (Memory quota vastly exceeded)"));
    control.stop("r15");
    await control.report("r15", "down");
  });

  test("a slug that is not what was ordered is not started: R17", async () => {
    const slug = control.slug({ "a.txt": "a" });
    const wrong = "0".repeat(64);
    control.slugs.set(wrong, control.slugs.get(slug.sha256) as Buffer);
    control.order(orderFor("r17", "web.17", "true", { slug: { ...slug, sha256: wrong } }));
    const crash = await control.report("r17", "crashed");
    assert.equal(crash.reason, "R17");
    await log.line(
      "web.17",
      `Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:${wrong} Actual: SHA256:${slug.sha256}`,
    );
    control.stop("r17");
    await control.report("r17", "down");
  });

  test("a one-off on a terminal: bytes both ways, its size, its exit status; only platform lines in the log", async () => {
    const attach = { stream: "term", terminal: true, columns: 101, lines: 31 };
    control.order(
      orderFor("t1", "run.1", "stty size; tty; read line; echo got $line; stty size; exit 7", {
        kind: "run",
        attach,
      }),
    );
    const stream = await control.until("stream", () => control.streams.get("term"));
    let text = "";
    const saw = (part: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (text.includes(part)) resolve();
          else stream.once("data", look);
        };
        look();
      });
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    const ended = new Promise((resolve) => stream.once("end", resolve));
    await saw("31 101");
    control.send(DYNO_SIGNAL, { dyno: "t1", columns: 77, lines: 22 });
    stream.write("word\r");
    await saw("got word");
    await ended;
    assert.match(text, /22 77/);
    const done = await control.report("t1", "complete");
    assert.equal(done.status, 7);
    await log.line("run.1", "State changed from up to complete");
    assert.deepEqual(log.texts("run.1").slice(1), [
      "State changed from starting to up",
      "Process exited with status 7",
      "State changed from up to complete",
    ]);
    control.stop("t1");
  });

  test("a one-off on pipes: 0x04 ends the input, all output comes before the end", async () => {
    const attach = { stream: "pipes", terminal: false, columns: 0, lines: 0 };
    control.order(orderFor("p1", "run.2", "wc -c; head -c 1000000 /dev/zero", { kind: "run", attach }));
    const stream = await control.until("stream", () => control.streams.get("pipes"));
    let bytes = 0;
    let head = "";
    stream.on("data", (chunk: Buffer) => {
      if (!bytes) head = chunk.toString("latin1", 0, 2);
      bytes += chunk.length;
    });
    const ended = new Promise((resolve) => stream.once("end", resolve));
    stream.write("hello\x04");
    await ended;
    assert.equal(head, "5\n");
    assert.equal(bytes, 1_000_002);
    assert.equal((await control.report("p1", "complete")).status, 0);
    control.stop("p1");
  });

  test("100 MB without a newline neither grows the host nor keeps another app's lines waiting", async () => {
    log.keep = false;
    const before = process.memoryUsage.rss();
    control.order(
      orderFor("n1", "run.3", "head -c 104857600 /dev/zero | tr '\\0' x; echo", {
        kind: "run",
        app: "noisy",
      }),
    );
    const done = await control.report("n1", "complete", 0, 60_000);
    log.keep = true;
    assert.equal(done.status, 0);
    control.order(orderFor("q1", "run.4", "echo quiet", { kind: "run", app: "quiet" }));
    await log.line("run.4", "quiet");
    assert.ok(process.memoryUsage.rss() - before < 80 * 1024 * 1024, "memory stays bounded");
    for (const dyno of ["n1", "q1"]) control.stop(dyno);
  });

  test("what a dyno leaves running ends with it", async () => {
    control.order(
      orderFor("l1", "run.5", "setsid sleep 1000 & (setsid -f sleep 1001 &) ; sleep 0.2; echo left", {
        kind: "run",
      }),
    );
    await control.report("l1", "complete");
    await log.line("run.5", "left");
    const group = `/sys/fs/cgroup/pids/sluice-${home.layout.mark}/l1.1`;
    // The kernel may hold a process in its group for a moment after it closed its files.
    await soon("the cgroup to be gone", () => !existsSync(group));
    control.stop("l1");
  });
});
