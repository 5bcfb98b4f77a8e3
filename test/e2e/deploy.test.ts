import assert from "node:assert/strict";
import { test } from "node:test";
import { Load } from "./load.ts";
import { startSluice, until } from "./sluice.ts";

const version = (text: string): Record<string, string> => ({
  "package.json": JSON.stringify({ name: "versions", version: "1.0.0" }),
  Procfile: "web: node index.js\n",
  "index.js": `
    const server = require("node:http").createServer((request, response) => response.end(${JSON.stringify(text)}));
    server.listen(process.env.PORT);
    process.on("SIGTERM", () => server.close(() => process.exit(0)));`,
});

test("deploys and a config change under load lose no request", async (t) => {
  const sluice = await startSluice(t);
  const repository = await sluice.deploy("versions", "", version("one"));
  await until(async () => (await sluice.get("versions")).body === "one", "the first version");
  const load = new Load(sluice, "versions", 20);
  await until(() => load.result.sent > 20, "requests before the deploy");
  for (const text of ["two", "three"]) {
    await sluice.commit(repository, text, version(text));
    const pushedAt = Date.now();
    const pushed = await sluice.push(repository);
    assert.equal(pushed.status, 0, pushed.stderr);
    await until(() => load.result.bodies.has(text), `version ${text}`);
    t.diagnostic(`push to the first 200 of version ${text}: ${load.result.bodies.get(text)! - pushedAt} ms`);
  }
  await sluice.must(["config:set", "-a", "versions", "A=1"]);
  const at = load.result.sent;
  await until(() => load.result.sent > at + 100, "requests after the change");
  const { sent, lost } = await load.stop();
  assert.deepEqual(
    lost,
    [],
    `${lost.length} of ${sent} lost\n${await sluice.must(["logs", "-a", "versions", "-n", "60"])}`,
  );
});

test("new dynos that never listen leave the old ones serving", async (t) => {
  const sluice = await startSluice(t);
  const repository = await sluice.deploy("versions", "", version("good"));
  await until(async () => (await sluice.get("versions")).body === "good", "the first version");
  await sluice.commit(repository, "Crash", { "index.js": "process.exit(3);" });
  const pushed = await sluice.push(repository);
  assert.equal(pushed.status, 0, pushed.stderr);
  const load = new Load(sluice, "versions", 50);
  await until(
    async () => /crashed/.test(await sluice.must(["logs", "-a", "versions"])),
    "the crash to be told",
  );
  const { lost, bodies } = await load.stop();
  assert.deepEqual(lost, []);
  assert.deepEqual([...bodies.keys()], ["good"]);
});
