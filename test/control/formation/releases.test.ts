import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { startPostgres, type TestPostgres } from "../../postgres.ts";
import { PeerHost } from "./peer-host.ts";
import {
  addApp,
  addSlug,
  call,
  deploy,
  type Home,
  makeHome,
  openRooms,
  type Rooms,
  WORKER,
  web,
} from "./rooms.ts";

describe("releases", () => {
  let postgres: TestPostgres;
  let home: Home;
  let rooms: Rooms;
  let host: PeerHost;
  before(async () => {
    postgres = await startPostgres();
    home = makeHome();
    rooms = await openRooms(home, postgres.url, { drainMs: 500 });
    host = new PeerHost(home.layout);
    await rooms.control.formation.adopted;
  });
  after(async () => {
    await host.close();
    await rooms.close();
    await postgres.stop();
    home.close();
  });
  const get = async (target: string) => (await call(rooms.url, "GET", target)).body;
  const patch = (app: string, vars: unknown) => call(rooms.url, "PATCH", `/apps/${app}/config-vars`, vars);

  it("gives every one of many writes at once a version of its own, none left out", async () => {
    const app = await addApp(rooms, "many");
    await Promise.all(Array.from({ length: 20 }, (_, index) => patch(app, { [`VAR_${index}`]: "x" }))).then(
      (answers) => {
        for (const { status } of answers) assert.equal(status, 200);
      },
    );
    const list = await get(`/apps/${app}/releases`);
    assert.deepEqual(
      list.map(({ version }: { version: number }) => version),
      Array.from({ length: 21 }, (_, index) => index + 1),
    );
    const vars = await get(`/apps/${app}/config-vars`);
    assert.equal(Object.keys(vars).length, 20);
    // Each snapshot holds what stood then: one var more than the one before.
    const sizes = await Promise.all(
      list.map(
        async ({ id }: { id: string }) =>
          Object.keys(await get(`/apps/${app}/releases/${id}/config-vars`)).length,
      ),
    );
    assert.deepEqual(
      sizes,
      Array.from({ length: 21 }, (_, index) => index),
    );
  });

  it("takes config vars as Heroku does, and refuses what cannot be", async () => {
    const app = await addApp(rooms, "vars");
    const both = await patch(app, { A: "1", B: "two\nlines ü" });
    assert.deepEqual(both.body, { A: "1", B: "two\nlines ü" });
    assert.deepEqual((await patch(app, { A: null })).body, { B: "two\nlines ü" });
    const count = async () => (await get(`/apps/${app}/releases`)).length;
    assert.equal(await count(), 3);
    // What changes nothing is no release.
    assert.deepEqual((await patch(app, { B: "two\nlines ü", NONE: null })).body, { B: "two\nlines ü" });
    assert.equal(await count(), 3);
    assert.ok(rooms.lines.includes("api: Set A, B config vars by user admin@localhost"));
    assert.ok(rooms.lines.includes("api: Remove A config vars by user admin@localhost"));
    for (const wrong of [{ "A-B": "1" }, { A: 1 }, { A: "a\0b" }, ["A"], { BIG: "x".repeat(65_536) }]) {
      const { status, body } = await patch(app, wrong);
      assert.equal(status, 422, JSON.stringify(wrong).slice(0, 40));
      assert.equal(body.id, "invalid_params");
    }
    assert.equal(await count(), 3);
    const { rows } = await rooms.control.store.pool.query("SELECT config FROM apps WHERE id = $1", [app]);
    assert.ok(!rows[0].config.includes("two"), "sealed in the store");
  });

  it("rolls slug and config vars back by a new release", async () => {
    const app = await addApp(rooms, "back");
    const first = await deploy(rooms, app, { web: web("one") });
    await patch(app, { A: "1" });
    await deploy(rooms, app, { web: web("two") });
    const made = await call(rooms.url, "POST", `/apps/${app}/releases`, { release: first.id });
    assert.equal(made.status, 201);
    assert.equal(made.body.version, 5);
    assert.equal(made.body.description, "Rollback to v2");
    assert.equal(made.body.slug.id, first.slugId);
    assert.equal(made.body.current, true);
    assert.deepEqual(await get(`/apps/${app}/config-vars`), {});
    await host.until(() => host.find("web.1", 5)?.report.state === "up");
    assert.equal((await call(rooms.url, "POST", `/apps/${app}/releases`, { release: "1" })).status, 422);
    assert.equal((await call(rooms.url, "POST", `/apps/${app}/releases`, { release: "99" })).status, 404);
    assert.equal((await call(rooms.url, "POST", `/apps/${app}/releases`, {})).status, 422);
    assert.equal((await get(`/apps/${app}/releases/v2`)).id, first.id);
    assert.equal((await get(`/apps/${app}/releases/2`)).eligible_for_rollback, true);
    assert.equal((await get(`/apps/${app}/releases/1`)).eligible_for_rollback, false);
    const other = await addApp(rooms, "other");
    const stolen = await call(rooms.url, "POST", `/apps/${other}/releases`, { slug: first.slugId });
    assert.equal(stolen.status, 404);
  });

  it("runs the release command with the new slug and config before anything changes", async () => {
    const app = await addApp(rooms, "phase");
    await deploy(rooms, app, { web: web("one") });
    await host.until(() => host.find("web.1")?.order.app !== undefined);
    await patch(app, { GREETING: "hi" });
    const slugId = await addSlug(rooms, app, {
      web: web("two"),
      release: `echo "$GREETING from v$HEROKU_RELEASE_VERSION"; echo second >&2`,
    });
    const made = await call(rooms.url, "POST", `/apps/${app}/releases`, { slug: slugId });
    assert.equal(made.body.status, "pending");
    assert.equal(made.body.current, false);
    const output = await fetch(await streamed(made.body.output_stream_url));
    assert.match(await output.text(), /hi from vv4\nsecond\n/);
    const settled = await rooms.control.releases.settled(await rooms.control.releases.find(app, "4"));
    assert.equal(settled.status, "succeeded");
    await host.until(() => host.find("web.1", 4)?.report.state === "up");
    const phase = rooms.lines.find((line) => line.startsWith("release."));
    assert.match(phase!, /^release\.\d{4}: hi from vv4$/);
    const order = ["Running release v4 commands", "Release v4 created"].map((words) =>
      rooms.lines.lastIndexOf(`api: ${words} by user admin@localhost`),
    );
    assert.ok(order[0]! >= 0 && order[1]! > order[0]!);
  });

  it("lets the old release serve when the release command fails", async () => {
    const app = await addApp(rooms, "fails");
    await deploy(rooms, app, { web: web("one") });
    await host.until(() => [...host.dynos.values()].some(({ order }) => order.app === app));
    const release = await deploy(rooms, app, { web: web("two"), release: "echo no; exit 3" });
    const settled = await rooms.control.releases.settled(release);
    assert.equal(settled.status, "failed");
    assert.equal((await rooms.control.releases.current(app))?.version, 2);
    assert.ok(rooms.lines.includes("api: Release v3 command failed by user admin@localhost"));
    const { body } = await call(rooms.url, "GET", `/apps/${app}/dynos`);
    assert.deepEqual(
      body.map((dyno: { name: string; release: { version: number } }) => [dyno.name, dyno.release.version]),
      [["web.1", 2]],
    );
    assert.equal((await call(rooms.url, "POST", `/apps/${app}/releases`, { release: "3" })).status, 422);
    // The number is used up.
    assert.equal((await deploy(rooms, app, { web: web("three") })).version, 4);
    assert.equal((await fetch(`${rooms.url}/releases/${release.id}/output/wrong`)).status, 404);
  });

  it("builds a change on the release whose command still runs, and runs theirs one after the other", async () => {
    const app = await addApp(rooms, "chain");
    await deploy(rooms, app, { web: web("one") });
    const gate = path.join(home.path, "gate");
    const pending = await deploy(rooms, app, {
      web: web("two"),
      release: `echo v$HEROKU_RELEASE_VERSION $A >> ${gate}.log; until test -e ${gate}; do sleep 0.02; done`,
    });
    await patch(app, { A: "1" });
    const list = await get(`/apps/${app}/releases`);
    assert.deepEqual(
      list.map(({ status }: { status: string }) => status),
      ["succeeded", "succeeded", "pending", "pending"],
    );
    assert.equal(list[3].slug.id, pending.slugId);
    assert.equal((await rooms.control.releases.current(app))?.version, 2);
    writeFileSync(gate, "");
    const newest = await rooms.control.releases.settled(await rooms.control.releases.find(app, "4"));
    assert.equal(newest.status, "succeeded");
    assert.equal((await rooms.control.releases.find(app, "3")).status, "succeeded");
    assert.equal(readFileSync(`${gate}.log`, "utf8"), "vv3\nvv4 1\n");
    await host.until(() => host.dynos.get(host.find("web.1", 4)?.order.dyno ?? "")?.report.state === "up");
  });

  it("scales nothing that a release of a worker needs not", async () => {
    const app = await addApp(rooms, "quiet");
    await deploy(rooms, app, { worker: WORKER });
    assert.deepEqual(await get(`/apps/${app}/dynos`), []);
  });

  /** The output's URL, once the command has started (404 until then). */
  async function streamed(url: string): Promise<string> {
    await host.until(() => host.starts.some((start) => start.startsWith("release.")));
    return url;
  }
});
