import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Load } from "./load.ts";
import { processesWith, type Sluice, startSluice, until } from "./sluice.ts";

/** An app that tells which of its starts answers, and whose command line can be found among all processes. */
const witness = (mark: string): Record<string, string> => ({
  "package.json": JSON.stringify({ name: "witness", version: "1.0.0" }),
  Procfile: `web: node index.js ${mark}\n`,
  "index.js": `
    const born = require("node:crypto").randomUUID();
    require("node:http").createServer((request, response) => response.end(born)).listen(process.env.PORT);
    process.on("SIGTERM", () => process.exit(0));`,
});

const whole = (sluice: Sluice): Promise<void> =>
  until(
    async () => (await fetch(new URL("/health", sluice.api)).catch(() => null))?.status === 200,
    "the whole Sluice to be up again",
    60_000,
    () => sluice.stderr,
  );

const bodyOf = async (sluice: Sluice, app: string): Promise<string> => {
  let body = "";
  await until(async () => {
    const answer = await sluice.get(app).catch(() => null);
    body = answer?.body ?? "";
    return answer?.status === 200;
  }, `${app} to answer`);
  return body;
};

/** Programs of the app itself (its shell left out), so that a dyno started twice would be seen. */
const programs = (mark: string): number =>
  processesWith(mark).filter((line) => line.startsWith("node index.js")).length;

/** Sets one config var after the other, and keeps those that were acknowledged. */
class ConfigChanges {
  acknowledged: number[] = [];
  #on = true;
  #done: Promise<void>;

  constructor(sluice: Sluice, app: string) {
    this.#done = (async () => {
      for (let n = 1; this.#on; n++) {
        const answer = await sluice
          .call("PATCH", `/apps/${app}/config-vars`, { N: String(n) })
          .catch(() => null);
        if (answer?.status === 200) this.acknowledged.push(n);
        await new Promise((later) => setTimeout(later, 20));
      }
    })();
  }

  async stop(): Promise<number[]> {
    this.#on = false;
    await this.#done;
    return this.acknowledged;
  }
}

test("kill -9 of each part and of the store in turn: requests go on, acknowledged changes hold, dynos are adopted", async (t) => {
  const sluice = await startSluice(t, { env: { SLUICE_EDGE_WORKERS: "2" } });
  const mark = randomUUID();
  await sluice.deploy("witness", "", witness(mark));
  await sluice.must(["create", "ledger", "--no-remote"]);
  const born = await bodyOf(sluice, "witness");
  assert.equal(programs(mark), 1);

  const changes = new ConfigChanges(sluice, "ledger");
  for (const part of ["control", "logplex", "store", "host"]) {
    const load = new Load(sluice, "witness", 20);
    await sluice.kill(part);
    await whole(sluice);
    const before = changes.acknowledged.length;
    await until(
      () => changes.acknowledged.length > before + 2,
      `config changes after ${part} was killed`,
      60_000,
      () => sluice.stderr,
    );
    const { sent, lost, bodies } = await load.stop();
    assert.deepEqual(lost, [], `${part} killed: ${lost.length} of ${sent} requests lost`);
    assert.deepEqual([...bodies.keys()], [born], `${part} killed: the dyno was replaced`);
    assert.equal(programs(mark), 1, `${part} killed: the dyno runs once`);
  }
  await sluice.kill("edge 1");
  await whole(sluice);
  assert.equal(await bodyOf(sluice, "witness"), born);

  // A dyno that the new host adopted is really its own: it can restart it.
  await sluice.must(["ps:restart", "-a", "witness"]);
  await until(async () => (await sluice.get("witness")).body !== born, "a fresh dyno");
  await until(() => programs(mark) === 1, "the old dyno to be gone");

  const acknowledged = await changes.stop();
  const releases = await sluice.list<{ version: number; status: string }>("/apps/ledger/releases");
  const versions = releases.map(({ version }) => version).sort((a, b) => a - b);
  assert.deepEqual(
    versions,
    versions.map((_, index) => index + 1),
    "the ledger has no hole",
  );
  assert.ok(releases.every(({ status }) => status === "succeeded"));
  // v1 and v2 come with the app; every acknowledged change is a release, and a change cut off by a kill is whole or not there.
  assert.ok(releases.length - 2 >= acknowledged.length, `${releases.length - 2} of ${acknowledged.length}`);
  const { body: config } = await sluice.call("GET", "/apps/ledger/config-vars");
  assert.ok(Number((config as { N: string }).N) >= acknowledged.at(-1)!);
});

test("the edge serves from its kept table after its own death while control and the store are dead", async (t) => {
  const sluice = await startSluice(t, { env: { SLUICE_EDGE_WORKERS: "1" } });
  await sluice.deploy("witness", "", witness(randomUUID()));
  const born = await bodyOf(sluice, "witness");
  // The table is written down some 50 ms after a change.
  const kept = path.join(sluice.home, "edge", "routes.1");
  await until(() => readFileSync(kept).includes("web.1"), "the route to be written down");
  // Stopped, not killed: the supervisor would start them again at once.
  for (const part of ["control", "store"]) process.kill(sluice.pid(part)!, "SIGSTOP");
  try {
    assert.equal((await sluice.get("witness")).body, born);
    await sluice.kill("edge 1");
    assert.equal(await bodyOf(sluice, "witness"), born);
  } finally {
    for (const part of ["control", "store"]) process.kill(sluice.pid(part)!, "SIGCONT");
  }
  await whole(sluice);
});

test("kill -9 of the supervisor: the parts end, the dynos go on, and the next start adopts them", async (t) => {
  const sluice = await startSluice(t);
  const mark = randomUUID();
  await sluice.deploy("witness", "", witness(mark));
  const born = await bodyOf(sluice, "witness");
  const parts = [...sluice.parts().keys()];
  assert.ok(parts.length >= 4);
  sluice.child.kill("SIGKILL");
  await once(sluice.child, "exit");
  await until(() => parts.every((pid) => !processAlive(pid)), "the parts to end by themselves");
  assert.equal(programs(mark), 1, "the dyno outlives them");
  const next = await startSluice(t, { folder: sluice.folder });
  assert.equal(await bodyOf(next, "witness"), born);
  assert.equal(programs(mark), 1);
});

const processAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
