import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { readConfig } from "../../src/config/environment.ts";
import { Supervisor } from "../../src/supervisor/supervisor.ts";
import { atEnd } from "../at-end.ts";
import { temporaryFolder } from "./folder.ts";

/** A small real part: says what happens to it in a file, and can be told to fail or to be slow to stop. */
const PART = `
const fs = require("node:fs");
const name = process.argv.slice(2).join(" ");
const note = (what) => fs.appendFileSync(process.env.EVENTS, name + " " + what + " " + process.pid + "\\n");
if (process.env.FAIL === name) {
  process.send({ kind: "failed", message: "The " + name + " has no luck today." }, () => process.exit(1));
} else {
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});
  process.on("disconnect", () => { note("alone"); process.exit(1); });
  process.on("message", (message) => {
    note(message.now ? "stop-now" : "stop");
    setTimeout(() => { note("gone"); process.exit(0); }, name === "host" ? 50 : 0);
  });
  note("start " + (process.env.SLUICE_API_KEY ? "knows-key" : "knows-no-key"));
  process.send({ kind: "ready", ports: { http: 1 }, notes: ["note of " + name] });
}
`;

function setUp(t: TestContext, env: NodeJS.ProcessEnv = {}) {
  const code = temporaryFolder(t);
  mkdirSync(path.join(code, "dist", "src"), { recursive: true });
  writeFileSync(path.join(code, "dist", "src", "main.js"), PART);
  const events = path.join(code, "events");
  appendFileSync(events, "");
  const said: string[] = [];
  const notes: string[] = [];
  const config = readConfig({ SLUICE_EDGE_WORKERS: "2" });
  const all = { ...process.env, EVENTS: events, SLUICE_API_KEY: "secret", ...env };
  const supervisor = new Supervisor(
    config,
    null,
    code,
    all,
    (line) => said.push(line),
    (some) => notes.push(...some),
  );
  atEnd(t, () => supervisor.stop(true));
  const read = (): string[][] =>
    readFileSync(events, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => line.split(" "));
  return { supervisor, said, notes, read };
}

const happened = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((later) => setTimeout(later, 5));
};

test("all parts are started, only control knows the key, and notes are handed on", async (t) => {
  const { supervisor, notes, read } = setUp(t);
  await supervisor.start();
  const lines = read().map((words) => words.slice(0, -1).join(" "));
  assert.deepEqual(lines.sort(), [
    "control start knows-key",
    "edge 1 start knows-no-key",
    "edge 2 start knows-no-key",
    "host start knows-no-key",
    "logplex start knows-no-key",
  ]);
  assert.equal(notes.length, 5);
});

test("they stop in order: edges and host at once, then control, then the Logplex", async (t) => {
  const { supervisor, read } = setUp(t);
  await supervisor.start();
  await supervisor.stop();
  const order = read()
    .map((words) => words.slice(0, -1).join(" "))
    .filter((line) => !line.includes("start"));
  const first = ["edge 1 gone", "edge 1 stop", "edge 2 gone", "edge 2 stop", "host gone", "host stop"];
  assert.deepEqual(order.slice(0, 6).sort(), first);
  assert.deepEqual(order.slice(6), ["control stop", "control gone", "logplex stop", "logplex gone"]);
});

test("a killed edge worker is started again and the other parts are left alone", async (t) => {
  const { supervisor, said, read } = setUp(t);
  await supervisor.start();
  const pid = Number(
    read()
      .find(([part, worker]) => part === "edge" && worker === "2")
      ?.at(-1),
  );
  process.kill(pid, "SIGKILL");
  await happened(() => read().filter(([part, , what]) => part === "edge" && what === "start").length === 3);
  assert.match(said.join("\n"), /^edge 2 died \(SIGKILL\); it is started again in \d+ ms$/);
  assert.equal(read().filter(([, what]) => what === "start").length, 3);
});

test("a part that cannot start ends the start with its own sentence, and the others can be stopped", async (t) => {
  const { supervisor, read } = setUp(t, { FAIL: "logplex" });
  await assert.rejects(supervisor.start(), /^StartError: The logplex has no luck today\.$/);
  await supervisor.stop();
  await assert.doesNotReject(supervisor.stop());
  for (const [part, ...rest] of read()) assert.notEqual(part, "logplex", rest.join(" "));
});

test("a second stop with now cuts the first one short", async (t) => {
  const { supervisor, read } = setUp(t);
  await supervisor.start();
  const first = supervisor.stop();
  await supervisor.stop(true);
  await first;
  assert.ok(read().some(([part, what]) => part === "host" && what === "stop-now"));
});
