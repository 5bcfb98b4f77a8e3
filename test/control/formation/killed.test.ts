import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startPostgres, type TestPostgres } from "../../postgres.ts";
import { PeerEdge } from "./peer-edge.ts";
import { PeerHost } from "./peer-host.ts";
import {
  addApp,
  addSlug,
  call,
  deploy,
  type Home,
  makeHome,
  openRooms,
  type RoomsProcess,
  spawnRooms,
  WORKER,
  web,
} from "./rooms.ts";

/** Control as a process of its own, killed with SIGKILL at awkward moments; host, edge and store live on. */
describe("control killed", () => {
  let postgres: TestPostgres;
  let home: Home;
  let database: string;
  let process1: RoomsProcess;
  let host: PeerHost;
  let edge: PeerEdge;
  let app: string;
  let slow: string;
  let fast: string;
  let phased: string;
  let count = 0;
  before(async () => {
    postgres = await startPostgres();
  });
  after(() => postgres.stop());
  beforeEach(async () => {
    home = makeHome();
    database = await postgres.database(`killed${++count}`);
    // An app with its slugs, and one release that serves.
    const rooms = await openRooms(home, database);
    app = await addApp(rooms, `killed-${count}`);
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    fast = await addSlug(rooms, app, { web: web("fast"), worker: WORKER });
    slow = await addSlug(rooms, app, { web: `sleep 0.5; ${web("slow")}`, worker: WORKER });
    phased = await addSlug(rooms, app, { web: web("phased"), worker: WORKER, release: "sleep 1000" });
    await rooms.close();
    process1 = await spawnRooms(home, database, 300);
    host = new PeerHost(home.layout);
    edge = new PeerEdge(home.layout, 1);
    await call(process1.url, "PATCH", `/apps/${app}/formation`, {
      updates: [{ type: "worker", quantity: 1 }],
    });
    await edge.until(() => edge.route(app)?.state === "up");
    await host.until(() => host.running.length === 2);
  });
  afterEach(async () => {
    edge.close();
    await host.close();
    await process1.kill();
    home.close();
  });
  const restart = async (): Promise<void> => {
    process1 = await spawnRooms(home, database, 300);
  };
  const get = async (target: string) => (await call(process1.url, "GET", target)).body;

  it("finds a dyno that came up beside the old one while it was away, and switches then", async () => {
    const made = await call(process1.url, "POST", `/apps/${app}/releases`, { slug: slow });
    assert.equal(made.status, 201);
    const [old] = edge.route(app)!.dynos;
    await process1.kill();
    await host.until(() => host.find("web.1", 3)?.report.state === "up");
    assert.deepEqual(edge.route(app)!.dynos, [old], "the edge serves from what it has");
    await restart();
    await edge.until(
      () => edge.route(app)?.dynos[0] !== undefined && edge.route(app)!.dynos[0]!.id !== old!.id,
    );
    await host.until(() => host.running.join() === "web.1 v3,worker.1 v3");
    assert.deepEqual([...host.starts].sort(), ["web.1 v2", "web.1 v3", "worker.1 v2", "worker.1 v3"]);
    assert.ok(!edge.seen.get(app)!.slice(2).includes("starting"), "never without a dyno");
  });

  it("lets what drains drain on after its death, and stops it once", async () => {
    edge.drains = false;
    await call(process1.url, "POST", `/apps/${app}/releases`, { slug: fast });
    await edge.until(() => host.find("web.1", 3)?.order.dyno === edge.route(app)?.dynos[0]?.id);
    await process1.kill();
    edge.drains = true;
    await restart();
    await host.until(() => host.running.join() === "web.1 v3,worker.1 v3");
    assert.equal(host.starts.length, 4);
  });

  it("ends a release whose command it was running as failed, and keeps the old one", async () => {
    const made = await call(process1.url, "POST", `/apps/${app}/releases`, { slug: phased });
    assert.equal(made.body.status, "pending");
    await host.until(() => host.running.some((name) => name.startsWith("release.")));
    await process1.kill();
    await restart();
    const list = await get(`/apps/${app}/releases`);
    assert.deepEqual(
      list.map(({ version, status }: { version: number; status: string }) => [version, status]),
      [
        [1, "succeeded"],
        [2, "succeeded"],
        [3, "failed"],
      ],
    );
    await host.until(() => host.running.join() === "web.1 v2,worker.1 v2");
    assert.equal(host.starts.filter((name) => !name.startsWith("release.")).length, 2);
  });

  it("keeps every acknowledged change of a storm that it is killed in, and none by halves", async () => {
    const acknowledged: string[] = [];
    const storm = Array.from({ length: 60 }, async (_, index) => {
      try {
        const { status } = await call(process1.url, "PATCH", `/apps/${app}/config-vars`, {
          [`V${index}`]: "x",
        });
        if (status === 200) acknowledged.push(`V${index}`);
      } catch {
        // Cut off: it may stand or not.
      }
    });
    while (acknowledged.length < 10) await Promise.race([Promise.all(storm), new Promise(setImmediate)]);
    await process1.kill();
    await Promise.all(storm);
    await restart();
    const vars = await get(`/apps/${app}/config-vars`);
    for (const name of acknowledged) assert.equal(vars[name], "x", `${name} was acknowledged`);
    const list = await get(`/apps/${app}/releases`);
    assert.deepEqual(
      list.map(({ version }: { version: number }) => version),
      list.map((_: unknown, index: number) => index + 1),
    );
    assert.equal(list.length, 2 + Object.keys(vars).length);
    const newest = `v${list.length}`;
    await host.until(() => host.running.join() === `web.1 ${newest},worker.1 ${newest}`);
    await edge.until(() => edge.route(app)?.state === "up");
  });

  it("switches when the store is back, if that was killed while the new dyno came up", async () => {
    await call(process1.url, "POST", `/apps/${app}/releases`, { slug: slow });
    const [old] = edge.route(app)!.dynos;
    await postgres.kill();
    await host.until(() => host.find("web.1", 3)?.report.state === "up");
    const refused = await call(process1.url, "PATCH", `/apps/${app}/config-vars`, { A: "1" });
    assert.equal(refused.status, 503);
    assert.equal(refused.body.id, "store_unavailable");
    assert.deepEqual(edge.route(app)!.dynos, [old]);
    await postgres.start();
    await edge.until(() => edge.route(app)!.dynos[0]!.id !== old!.id);
    await host.until(() => host.running.join() === "web.1 v3,worker.1 v3");
    assert.equal((await call(process1.url, "PATCH", `/apps/${app}/config-vars`, { A: "1" })).status, 200);
  });

  it("does not run a one-off again that ended while it and its host were away", async () => {
    const { body } = await call(process1.url, "POST", `/apps/${app}/dynos`, { command: "exec sleep 1000" });
    await host.until(() => host.find(body.name)?.report.state === "up");
    const shown = async () => (await get(`/apps/${app}/dynos/${body.name}`)).state;
    while ((await shown()) !== "up") await new Promise(setImmediate);
    await process1.kill();
    await host.close();
    await restart();
    const successor = new PeerHost(home.layout);
    try {
      await successor.until(() => successor.running.join() === "web.1 v2,worker.1 v2");
      await edge.until(() => edge.route(app)?.dynos[0]?.port === successor.find("web.1")?.report.port);
      const names = async () =>
        (await get(`/apps/${app}/dynos`)).map(({ name }: { name: string }) => name).join();
      while ((await names()) !== "web.1,worker.1") await new Promise(setImmediate);
      assert.deepEqual(successor.starts.sort(), ["web.1 v2", "worker.1 v2"]);
    } finally {
      await successor.close();
    }
  });
});
