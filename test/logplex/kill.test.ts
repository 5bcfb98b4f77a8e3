import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync, truncateSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Source } from "../../src/wire/source.ts";
import { get, House } from "./house.ts";

/** A Logplex in a process of its own, which can be killed; it says its ports and leaves root as it is. */
const SCRIPT = `
  import { readConfig } from ${JSON.stringify(new URL("../../src/config/environment.js", import.meta.url).href)};
  import { layoutOf } from ${JSON.stringify(new URL("../../src/config/layout.js", import.meta.url).href)};
  import { startLogplex } from ${JSON.stringify(new URL("../../src/logplex/logplex.js", import.meta.url).href)};
  const config = readConfig(process.env);
  config.logplex.syslogPort = 0;
  config.logplex.httpPort = 0;
  const part = await startLogplex(config, layoutOf(config.home), { keepUser: true });
  console.log(JSON.stringify(part.ports));
  process.on("SIGTERM", () => part.stop().then(() => process.exit(0)));
`;

let house: House;
let child: ChildProcess | null;

async function start(): Promise<void> {
  child = spawn(process.execPath, ["--input-type=module", "-e", SCRIPT], {
    cwd: path.dirname(fileURLToPath(import.meta.url)),
    env: { ...process.env, SLUICE_HOME: house.folder, SLUICE_SOCKETS: house.layout.sockets },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [out] = (await once(child.stdout!, "data")) as [Buffer];
  house.logplex = { ports: JSON.parse(out.toString()), notes: [], stop: async () => {} };
  await house.applied();
}

async function end(signal: NodeJS.Signals): Promise<void> {
  if (!child) return;
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
  child = null;
}

beforeEach(async () => {
  house = new House();
  await house.control();
});
afterEach(async () => {
  await end("SIGKILL");
  await house.close();
});

async function history(app: string): Promise<string[]> {
  const { body } = await get(await house.session(app, { lines: 1500 }));
  return body.split("\n").filter(Boolean);
}

/** Resolves when disk holds more than now. */
async function saved(app: string): Promise<void> {
  const file = path.join(house.layout.logplex, "streams", app);
  const size = (): number => {
    try {
      return statSync(file).size;
    } catch {
      return 0;
    }
  };
  const before = size();
  while (size() === before) await new Promise((resolve) => setTimeout(resolve, 10));
}

test("kill -9 while lines come: shown and told lost make up all that was written, none twice", async () => {
  await house.app("hello");
  await start();
  const sender = house.sender("host");
  const app = sender.app("hello");
  const web = sender.process("web.1");
  const total = 1200;
  let written = 0;
  const write = (count: number): void => {
    for (let i = 0; i < count; i += 1, written += 1) {
      sender.write(app, web, Source.Dyno, Date.now() * 1000, Buffer.from(`n${written}`));
    }
    sender.flush();
  };
  const steady = setInterval(() => {
    if (written < total) write(10);
  }, 10);
  await saved("hello");
  const killedAt = written;
  while (written < killedAt + 100) await new Promise((resolve) => setTimeout(resolve, 5));
  await end("SIGKILL");
  await start();
  while (written < total) await new Promise((resolve) => setTimeout(resolve, 5));
  clearInterval(steady);
  await sender.close(10_000);
  const lines = await history("hello");
  const numbers = lines.flatMap((line) => /app\[web\.1\]: n(\d+)$/.exec(line)?.[1] ?? []).map(Number);
  const told = lines.flatMap(
    (line) => /app\[log-shuttle\]: Error L13: (\d+) messages lost since \S+\.$/.exec(line)?.[1] ?? [],
  );
  assert.equal(new Set(numbers).size, numbers.length, "a line came twice");
  assert.equal(
    told.length,
    1,
    lines.find((line) => line.includes("log-shuttle")),
  );
  assert.ok(Number(told[0]) > 0);
  assert.equal(numbers.length + Number(told[0]), total);
});

test("a clean stop takes nothing; a sender's lines of the time without a Logplex come later", async () => {
  await house.app("hello");
  await start();
  const sender = house.sender("host");
  const app = sender.app("hello");
  const web = sender.process("web.1");
  const now = Date.now() * 1000;
  for (let i = 0; i < 100; i += 1) sender.write(app, web, Source.Dyno, now, Buffer.from(`n${i}`));
  sender.flush();
  await saved("hello");
  await end("SIGTERM");
  for (let i = 100; i < 200; i += 1) sender.write(app, web, Source.Dyno, now, Buffer.from(`n${i}`));
  await start();
  await sender.close(10_000);
  const texts = (await history("hello")).map((line) => line.split(": ")[1]);
  assert.deepEqual(
    texts,
    Array.from({ length: 200 }, (_, i) => `n${i}`),
  );
});

test("kill -9 takes lines of an outside source: how many is told", async () => {
  await house.app("hello", { sources: [{ id: "s", name: "nginx-1", token: "t.1" }] });
  await start();
  const post = async (from: number, to: number): Promise<void> => {
    let body = "";
    for (let i = from; i < to; i += 1) {
      const message = `<134>1 - - t.1 - - - n${i}`;
      body += `${message.length} ${message}`;
    }
    const url = `http://127.0.0.1:${house.httpPort}/logs`;
    const headers = { authorization: `Basic ${Buffer.from("x:t.1").toString("base64")}` };
    assert.equal((await fetch(url, { method: "POST", body, headers })).status, 204);
  };
  await post(0, 50);
  await saved("hello");
  await post(50, 80);
  await end("SIGKILL");
  await start();
  await post(80, 90);
  const lines = await history("hello");
  const shown = lines.filter((line) => line.includes("app[nginx-1]: n")).length;
  const told = lines.flatMap(
    (line) => /app\[log-shuttle\]: Error L13: (\d+) messages lost/.exec(line)?.[1] ?? [],
  );
  assert.deepEqual([shown, told], [60, ["30"]]);
  await end("SIGTERM");
  await start();
  assert.equal((await history("hello")).length, lines.length);
});

test("what a sender dropped while there was no Logplex is told with L12, exactly", async () => {
  await house.app("hello");
  const sender = house.sender("host");
  const app = sender.app("hello");
  const web = sender.process("web.1");
  const written = 1000;
  const bytes = Buffer.alloc(9000, "x");
  for (let i = 0; i < written; i += 1) sender.write(app, web, Source.Dyno, Date.now() * 1000, bytes);
  await start();
  await sender.close(10_000);
  const lines = await history("hello");
  const told = lines.flatMap(
    (line) => /Error L12: (\d+) messages dropped since \S+\.$/.exec(line)?.[1] ?? [],
  );
  // Told once, or again when the sender dropped more while it connected.
  const dropped = told.reduce((sum, count) => sum + Number(count), 0);
  // The ring's own bound of bytes is below what the sender kept, so only its newest lines are shown.
  assert.ok(dropped > 400 && dropped < 600, told.join());
  assert.ok(lines.length > 400);
});

test("a file cut short by a kill in the middle of a write gives what is whole in it", async () => {
  await house.app("hello");
  await start();
  await house.lines("hello", ["one"]);
  await end("SIGTERM");
  const file = path.join(house.layout.logplex, "streams", "hello");
  const whole = statSync(file).size;
  await start();
  await house.lines("hello", ["two"]);
  await end("SIGTERM");
  assert.ok(statSync(file).size > whole);
  truncateSync(file, statSync(file).size - 3);
  await start();
  await house.lines("hello", ["three"]);
  assert.deepEqual(
    (await history("hello")).map((line) => line.split(": ")[1]),
    ["one", "three"],
  );
});

test("settings and sessions are there without control; drain URLs lie where only the Logplex reads", async () => {
  await house.app("hello");
  await start();
  await house.lines("hello", ["kept"]);
  const url = await house.session("hello");
  await get(url);
  await end("SIGTERM");
  const tokenPath = new URL(url).pathname;
  house.feed.update([], [`session:${tokenPath.split("/").pop()}`]);
  await start();
  const { status, body } = await get(`http://127.0.0.1:${house.httpPort}${tokenPath}`);
  assert.equal(status, 200);
  assert.match(body, /app\[web\.1\]: kept\n/);
  const folder = house.layout.logplex;
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  for (const file of ["settings", "sessions", "life"]) {
    assert.equal(statSync(path.join(folder, file)).mode & 0o777, 0o600, file);
  }
  // An app that is destroyed leaves nothing behind.
  assert.deepEqual(readdirSync(path.join(folder, "streams")), ["hello"]);
  house.feed.update([], ["app:hello"]);
  await house.applied();
  assert.deepEqual(readdirSync(path.join(folder, "streams")), []);
});
