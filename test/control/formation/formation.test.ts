import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startPostgres, type TestPostgres } from "../../postgres.ts";
import { PeerEdge } from "./peer-edge.ts";
import { PeerHost } from "./peer-host.ts";
import { addApp, call, deploy, type Home, makeHome, openRooms, type Rooms, WORKER, web } from "./rooms.ts";

describe("formation", () => {
  let postgres: TestPostgres;
  let home: Home;
  let rooms: Rooms;
  let host: PeerHost;
  let edge: PeerEdge;
  let app: string;
  let count = 0;
  const body = async (): Promise<string> => {
    const { address, port } = edge.route(app)!.dynos[0]!;
    return (await fetch(`http://${address}:${port}/`)).text();
  };
  const dynos = async () => (await call(rooms.url, "GET", `/apps/${app}/dynos`)).body;
  const scale = (updates: object[]) => call(rooms.url, "PATCH", `/apps/${app}/formation`, { updates });

  before(async () => {
    postgres = await startPostgres();
  });
  after(() => postgres.stop());
  beforeEach(async () => {
    home = makeHome();
    count += 1;
    rooms = await openRooms(home, await postgres.database(`formation${count}`), { drainMs: 500 });
    host = new PeerHost(home.layout);
    edge = new PeerEdge(home.layout, 1);
    app = await addApp(rooms, `app-${count}`);
  });
  afterEach(async () => {
    edge.close();
    await host.close();
    await rooms.close();
    home.close();
  });

  it("starts web=1 and others at 0 at the first deploy, after its release command", async () => {
    await edge.until(() => edge.route(app)?.state === "blank");
    await deploy(rooms, app, { web: web("one"), worker: WORKER, release: "true" });
    await edge.until(() => edge.route(app)?.state === "up");
    assert.deepEqual(edge.seen.get(app), ["blank", "starting", "up web.1"]);
    assert.equal(await body(), "one");
    assert.deepEqual(host.running, ["web.1 v2"]);
    const [dyno] = await dynos();
    assert.equal(dyno.name, "web.1");
    assert.equal(dyno.state, "up");
    assert.equal(dyno.size, "Basic");
    assert.equal(dyno.release.version, 2);
    assert.ok(rooms.lines.includes("api: Scaled to web@1:Basic worker@0:Basic by user admin@localhost"));
    const env = host.find("web.1")!.order.env;
    assert.equal(env.HEROKU_APP_NAME, `app-${count}`);
    assert.equal(env.HEROKU_RELEASE_VERSION, "v2");
    assert.equal(env.HEROKU_DYNO_ID, dyno.id);
  });

  it("has published `starting` to every edge when create resolves", async () => {
    await edge.until(() => edge.route(app)?.state === "blank");
    await deploy(rooms, app, { web: web("one") });
    assert.deepEqual(edge.seen.get(app)?.slice(0, 2), ["blank", "starting"]);
  });

  it("switches web in one delta once the new one listens, and keeps no job running twice", async () => {
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    await scale([{ type: "worker", quantity: 1 }]);
    await edge.until(() => edge.route(app)?.state === "up");
    await host.until(() => host.running.includes("worker.1 v2"));
    const before = edge.route(app)!.dynos[0]!;
    let both = false;
    const watch = setInterval(() => {
      const workers = host.running.filter((name) => name.startsWith("worker"));
      if (workers.length > 1) both = true;
    }, 1);
    await deploy(rooms, app, { web: web("two"), worker: WORKER });
    assert.deepEqual(edge.route(app)!.dynos, [before], "the old one serves until the new one is up");
    await edge.until(() => edge.route(app)!.dynos[0]?.id !== before.id);
    await host.until(() => host.running.join() === "web.1 v3,worker.1 v3");
    clearInterval(watch);
    assert.equal(both, false);
    assert.equal(await body(), "two");
    assert.deepEqual(edge.seen.get(app)!.slice(-1), ["up web.1"]);
    assert.ok(!edge.seen.get(app)!.slice(3).includes("starting"));
    assert.deepEqual(host.starts, ["web.1 v2", "worker.1 v2", "web.1 v3", "worker.1 v3"].sort(byStart(host)));
  });

  it("keeps a retired dyno until every edge has drained, or the time is up", async () => {
    await deploy(rooms, app, { web: web("one") });
    await edge.until(() => edge.route(app)?.state === "up");
    edge.drains = false;
    const second = new PeerEdge(home.layout, 2);
    await second.until(() => second.route(app)?.state === "up");
    const [old] = edge.route(app)!.dynos;
    await deploy(rooms, app, { web: web("two") });
    await edge.until(() => edge.route(app)!.dynos[0]!.id !== old!.id);
    await second.until(() => second.route(app)!.dynos[0]!.id !== old!.id);
    // The second edge has drained; the first never says so: the old dyno answers until the limit.
    assert.deepEqual(host.running, ["web.1 v2", "web.1 v3"]);
    assert.equal(await (await fetch(`http://${old!.address}:${old!.port}/`)).text(), "one");
    assert.deepEqual(
      (await dynos()).map((dyno: { release: { version: number } }) => dyno.release.version),
      [3],
    );
    await host.until(() => host.running.join() === "web.1 v3");
    second.close();
  });

  it("goes on with the old web dynos when the new ones crash twice, and says so until the next release", async () => {
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    await edge.until(() => edge.route(app)?.state === "up");
    const [old] = edge.route(app)!.dynos;
    await deploy(rooms, app, { web: "exit 1", worker: WORKER });
    await host.until(() => host.starts.filter((name) => name === "web.1 v3").length >= 2);
    await host.until(() => host.find("web.1", 3) === undefined);
    assert.deepEqual(host.running, ["web.1 v2"]);
    assert.deepEqual(edge.route(app)!.dynos, [old]);
    const { body: list } = await call(rooms.url, "GET", `/apps/${app}/releases`);
    const newest = list.at(-1);
    assert.equal(newest.version, 3);
    assert.equal(newest.current, true);
    assert.match(newest.trouble, /v3 did not come up.*v2 goes on serving/);
    assert.ok(rooms.lines.some((line) => line.startsWith("api: New web dynos of v3 did not come up")));
    // Scaling is never refused meanwhile: more of the one that serves.
    assert.equal((await scale([{ type: "web", quantity: "+1" }])).status, 200);
    await edge.until(() => edge.route(app)!.dynos.length === 2);
    assert.deepEqual(host.running, ["web.1 v2", "web.2 v2"]);
    await call(rooms.url, "DELETE", `/apps/${app}/dynos/web.2`);
    await host.until(() => host.starts.filter((name) => name === "web.2 v2").length === 2);
    await deploy(rooms, app, { web: web("three"), worker: WORKER });
    await host.until(() => host.running.join() === "web.1 v4,web.2 v4");
    assert.equal(await body(), "three");
  });

  it("takes web dynos that never listen for failed", async () => {
    await deploy(rooms, app, { web: web("one") });
    await edge.until(() => edge.route(app)?.state === "up");
    host.bootMs = 50;
    await deploy(rooms, app, { web: WORKER });
    await host.until(() => host.starts.includes("web.1 v3"));
    await host.until(() => host.running.join() === "web.1 v2");
    assert.equal(edge.route(app)!.state, "up");
  });

  it("shows a first deploy that crashes as crashed, and one fixed by config vars as up", async () => {
    await deploy(rooms, app, { web: `test -n "$FIXED" || exit 1; ${web("fixed")}` });
    await edge.until(() => edge.route(app)?.state === "crashed");
    const set = await call(rooms.url, "PATCH", `/apps/${app}/config-vars`, { FIXED: "1" });
    assert.deepEqual(set.body, { FIXED: "1" });
    await edge.until(() => edge.route(app)?.state === "up");
    assert.equal(await body(), "fixed");
    assert.ok(rooms.lines.includes("api: Set FIXED config vars by user admin@localhost"));
    await host.until(() => host.running.join() === "web.1 v3");
  });

  it("stops the types that a Procfile no longer has, and goes to none without web", async () => {
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    await scale([{ type: "worker", quantity: 2 }]);
    await host.until(() => host.running.length === 3);
    await deploy(rooms, app, { other: WORKER });
    await host.until(() => host.running.length === 0);
    await edge.until(() => edge.route(app)?.state === "none");
    const { body: formation } = await call(rooms.url, "GET", `/apps/${app}/formation`);
    assert.deepEqual(
      formation.map(({ type, quantity }: { type: string; quantity: number }) => [type, quantity]),
      [["other", 0]],
    );
  });

  it("scales as Heroku does, and races end in one truth", async () => {
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    await edge.until(() => edge.route(app)?.state === "up");
    const both = await scale([
      { type: "web", quantity: "2" },
      { type: "worker", quantity: 1, size: "STANDARD-1x" },
    ]);
    assert.equal(both.status, 200);
    assert.deepEqual(
      both.body.map((row: { type: string; quantity: number; size: string }) => [
        row.type,
        row.quantity,
        row.size,
      ]),
      [
        ["web", 2, "Basic"],
        ["worker", 1, "Standard-1X"],
      ],
    );
    assert.equal((await scale([{ type: "web", quantity: 1_000_000 }])).status, 422);
    assert.equal((await scale([{ type: "web", quantity: -1 }])).status, 422);
    assert.equal((await scale([{ type: "web", quantity: "two" }])).status, 422);
    assert.equal((await scale([{ type: "web", size: "huge" }])).status, 422);
    assert.equal((await scale([{ type: "nothing", quantity: 1 }])).status, 404);
    const many = ["+1", "+1", "-1", "+1", "-1", "-1", "+1"].map((quantity) =>
      call(rooms.url, "PATCH", `/apps/${app}/formation/worker`, { quantity }),
    );
    for (const { status } of await Promise.all(many)) assert.equal(status, 200);
    const { body: worker } = await call(rooms.url, "GET", `/apps/${app}/formation/worker`);
    assert.equal(worker.quantity, 2);
    await host.until(() => host.running.join() === "web.1 v2,web.2 v2,worker.1 v2,worker.2 v2");
    assert.ok(
      rooms.lines.includes("api: Scaled to web@2:Basic worker@1:Standard-1X by user admin@localhost"),
    );
    await scale([
      { type: "web", quantity: 0 },
      { type: "worker", quantity: 0 },
    ]);
    await host.until(() => host.running.length === 0);
    assert.equal(edge.route(app)?.state, "none");
  });

  it("scales during a deploy", async () => {
    await deploy(rooms, app, { web: web("one") });
    await edge.until(() => edge.route(app)?.state === "up");
    await deploy(rooms, app, { web: `sleep 0.3; ${web("two")}` });
    assert.equal((await scale([{ type: "web", quantity: 3 }])).status, 200);
    assert.equal(edge.route(app)!.dynos.length, 1);
    await edge.until(() => edge.route(app)!.dynos.length === 3);
    await host.until(() => host.running.join() === "web.1 v3,web.2 v3,web.3 v3");
    assert.ok(!edge.seen.get(app)!.includes("up web.1 web.2"), "the three take over together");
  });

  it("restarts web beside the old one, and a dyno killed behind our back comes back", async () => {
    await deploy(rooms, app, { web: web("one"), worker: WORKER });
    await scale([{ type: "worker", quantity: 1 }]);
    await edge.until(() => edge.route(app)?.state === "up");
    await host.until(() => host.running.length === 2);
    const [old] = edge.route(app)!.dynos;
    assert.equal((await call(rooms.url, "DELETE", `/apps/${app}/dynos`)).status, 202);
    await edge.until(() => edge.route(app)!.dynos[0]?.id !== old!.id);
    await host.until(() => host.starts.length === 4 && host.running.length === 2);
    assert.ok(!edge.seen.get(app)!.slice(3).includes("starting"));
    assert.ok(rooms.lines.includes("web.1: Restarting"));
    process.kill(-host.find("web.1")!.child!.pid!, "SIGKILL");
    await host.until(() => host.starts.length === 5);
    await edge.until(() => edge.route(app)?.state === "up" && edge.route(app)!.dynos[0]!.id !== old!.id);
    const stopped = await call(rooms.url, "POST", `/apps/${app}/dynos/worker.1/actions/stop`);
    assert.equal(stopped.status, 202);
    await host.until(() => host.starts.length === 6 && host.running.length === 2);
    assert.equal((await call(rooms.url, "DELETE", `/apps/${app}/dynos/web.9`)).status, 404);
    assert.equal((await call(rooms.url, "DELETE", `/apps/${app}/formations/web`)).status, 202);
    assert.equal((await call(rooms.url, "DELETE", `/apps/${app}/formations/nothing`)).status, 404);
  });

  it("has Heroku's plain order without preboot", async () => {
    await rooms.control.store.pool.query(`UPDATE apps SET features = '{"preboot": false}'`);
    await deploy(rooms, app, { web: web("one") });
    await edge.until(() => edge.route(app)?.state === "up");
    await deploy(rooms, app, { web: web("two") });
    assert.deepEqual(edge.seen.get(app)!.slice(2, 4), ["up web.1", "starting"]);
    await edge.until(() => edge.route(app)?.state === "up");
    await host.until(() => host.running.join() === "web.1 v3");
  });

  it("takes an app's dynos and routes away when it is destroyed", async () => {
    await deploy(rooms, app, { web: web("one") });
    await edge.until(() => edge.route(app)?.state === "up");
    await rooms.control.store.pool.query("DELETE FROM apps WHERE id = $1", [app]);
    await rooms.control.formation.destroyed(app, [1, 2]);
    await edge.until(() => edge.route(app) === undefined);
    await host.until(() => host.running.length === 0);
  });
});

/** Starts of one host in the order that they had, so that only their set is compared. */
const byStart =
  (host: PeerHost) =>
  (a: string, b: string): number =>
    host.starts.indexOf(a) - host.starts.indexOf(b);
