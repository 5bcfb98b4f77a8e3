import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, describe, it } from "node:test";
import type { CertificateRoute } from "../../../src/wire/routes.ts";
import { type House, openHouse } from "./house.ts";

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

describe("apps", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
  });
  after(() => house.close());

  it("are made with the name that was given, their host name and the first two releases", async () => {
    const { status, body: app } = await house.call("POST", "/apps", { name: "hello", colour: "unknown" });
    assert.equal(status, 201);
    assert.match(app.id, UUID);
    assert.match(app.created_at, TIME);
    assert.equal(app.name, "hello");
    assert.equal(app.web_url, "http://hello.localhost:8080/");
    assert.equal(app.git_url, `${house.url}/hello.git`);
    assert.equal(app.owner.email, "admin@localhost");
    assert.equal(app.maintenance, false);
    assert.match(app.build_stack.name, /^heroku-2[24]$/);
    assert.equal(app.repo_size, 0);
    assert.deepEqual((await house.call("GET", `/apps/${app.id}`)).body, app);
    const { rows } = await house.control.store.pool.query(
      "SELECT version, description, status, epoch FROM releases WHERE app_id = $1 ORDER BY version",
      [app.id],
    );
    assert.deepEqual(rows, [
      { version: 1, description: "Initial release", status: "succeeded", epoch: 1 },
      { version: 2, description: "Enable Logplex", status: "succeeded", epoch: 1 },
    ]);
    assert.ok(house.asked.includes(`publishRoute ${app.id}`));
    assert.deepEqual(
      house.lines.map((line) => line.text),
      [
        "Initial release by user admin@localhost",
        "Release v1 created by user admin@localhost",
        "Enable Logplex by user admin@localhost",
        "Release v2 created by user admin@localhost",
      ],
    );
  });

  it("are given a name when they come without one", async () => {
    for (const body of [undefined, {}, { name: null }]) {
      const answer = await house.call("POST", "/apps", body);
      assert.equal(answer.status, 201);
      assert.match(answer.body.name, /^[a-z]+-[a-z]+-\d{5}$/);
    }
  });

  it("refuse names that are taken or cannot be, and unknown stacks", async () => {
    for (const [body, words] of [
      [{ name: "hello" }, /^Name hello is already taken\.$/],
      [{ name: "Hello" }, /must start with a letter/],
      [{ name: "he" }, /3 to 30 characters/],
      [{ name: "-hello" }, /must start/],
      [{ name: "a".repeat(31) }, /must start/],
      [{ name: "" }, /must start/],
      [{ name: "fresh", stack: "cedar-14" }, /choose one of heroku-22, heroku-24/],
    ] as const) {
      const answer = await house.call("POST", "/apps", body);
      assert.equal(answer.status, 422, JSON.stringify(body));
      assert.equal(answer.body.id, "invalid_params");
      assert.match(answer.body.message, words);
    }
  });

  it("are made once when two ask for the same name at the same time", async () => {
    const answers = await Promise.all(
      [1, 2, 3, 4].map(() => house.call("POST", "/apps", { name: "contested" })),
    );
    assert.deepEqual(answers.map((answer) => answer.status).sort(), [201, 422, 422, 422]);
  });

  it("change: maintenance, stack and name, which moves the host name", async () => {
    const { body: made } = await house.call("POST", "/apps", { name: "before" });
    const { body: app } = await house.call("PATCH", "/apps/before", {
      maintenance: true,
      build_stack: "heroku-22",
      name: "after",
    });
    assert.equal(app.id, made.id);
    assert.equal(app.name, "after");
    assert.equal(app.maintenance, true);
    assert.equal(app.build_stack.name, "heroku-22");
    assert.equal((await house.call("GET", "/apps/before")).status, 404);
    const domains = await house.call("GET", "/apps/after/domains");
    assert.deepEqual(
      domains.body.map((domain: { hostname: string }) => domain.hostname),
      ["after.localhost"],
    );
    const taken = await house.call("PATCH", "/apps/after", { name: "hello" });
    assert.equal(taken.status, 422);
    const setting = house.control.feeds.logSettings.get(`app:${app.id}`);
    assert.ok(setting?.kind === "app" && setting.name === "after");
  });

  it("are destroyed with all that is theirs, also when the first try to free it fails", async () => {
    const { body: app } = await house.call("POST", "/apps", { name: "doomed" });
    await house.call("POST", "/apps/doomed/domains", { hostname: "doomed.example.com" });
    await house.call("POST", "/apps/doomed/log-drains", { url: "https://logs.example.com/" });
    await house.call("POST", "/apps/doomed/log-sessions", { tail: true });
    house.refuseForget = true;
    const answer = await house.call("DELETE", "/apps/doomed");
    assert.equal(answer.status, 200);
    assert.equal(answer.body.id, app.id);
    assert.equal((await house.call("GET", "/apps/doomed")).status, 404);
    for (const [key, entry] of house.control.feeds.logSettings.entries()) {
      assert.notEqual(entry.app, app.id, key);
    }
    assert.equal(house.control.feeds.routes.get("certificate:host:doomed.example.com"), undefined);
    const { pool } = house.control.store;
    const left = await pool.query("SELECT name FROM leavings");
    assert.deepEqual(left.rows, [{ name: "doomed" }]);
    // What a new control does at its start.
    house.refuseForget = false;
    await house.control.leavings.left(app.id);
    assert.equal((await pool.query("SELECT 1 FROM leavings")).rowCount, 0);
    assert.ok(house.asked.includes(`forget ${app.id}`));
    assert.ok(house.asked.includes(`forget 2 releases`));
    assert.ok(house.asked.some((asked) => new RegExp(`^destroyed ${app.id} \\d+,\\d+$`).test(asked)));
    assert.equal((await house.call("POST", "/apps", { name: "doomed" })).status, 201);
  });

  it("have a certificate of the private CA for their host names", async () => {
    await house.call("POST", "/apps", { name: "secure" });
    const find = (host: string) =>
      house.control.feeds.routes.get(`certificate:host:${host}`) as CertificateRoute | undefined;
    const own = find("secure.localhost")!;
    assert.deepEqual(own.hosts, ["secure.localhost"]);
    await house.call("POST", "/apps/secure/domains", { hostname: "www.example.com" });
    const custom = find("www.example.com")!;
    assert.deepEqual(custom.hosts, ["www.example.com"]);
    // The edge needs a new listener where a known name's certificate changes.
    assert.equal(find("secure.localhost"), own);
    const leaf = new X509Certificate(custom.certificate);
    const ca = new X509Certificate(house.control.authority.certificate);
    assert.ok(leaf.checkIssued(ca) && leaf.verify(ca.publicKey));
    assert.equal(leaf.checkHost("www.example.com"), "www.example.com");
    await house.call("PATCH", "/apps/secure", { name: "secured" });
    assert.equal(find("secure.localhost"), undefined);
    assert.ok(find("secured.localhost"));
    await house.call("DELETE", "/apps/secured");
    assert.equal(find("secured.localhost") ?? find("www.example.com"), undefined);
    const { rows } = await house.control.store.pool.query(
      "SELECT name FROM certificates WHERE name LIKE 'host:%secure%' OR name = 'host:www.example.com'",
    );
    assert.deepEqual(rows, []);
    const fallback = house.control.feeds.routes.get("certificate:wildcard") as CertificateRoute;
    assert.ok(fallback.fallback);
  });
});

describe("what does not change", () => {
  let house: House;
  before(async () => {
    house = await openHouse({ SLUICE_APP_DOMAIN: "apps.example.com", SLUICE_EDGE_PORT: "80" });
    await house.call("POST", "/apps", { name: "hello" });
  });
  after(() => house.close());

  it("is listed: account, stacks, regions, sizes, collaborators, features", async () => {
    const { body: account } = await house.call("GET", "/account");
    assert.match(account.id, UUID);
    assert.deepEqual((await house.call("GET", "/users/~")).body, account);
    const stacks = await house.call("GET", "/stacks");
    assert.deepEqual(stacks.body.map((stack: { name: string }) => stack.name).sort(), [
      "heroku-22",
      "heroku-24",
    ]);
    assert.equal((await house.call("GET", "/regions/us")).body.name, "us");
    assert.equal((await house.call("GET", "/dyno-sizes/STANDARD-2X")).body.memory, 1);
    const people = await house.call("GET", "/apps/hello/collaborators");
    assert.equal(people.body[0].role, "owner");
    assert.equal((await house.call("POST", "/apps/hello/collaborators", { user: "a@b.c" })).status, 422);
    for (const path of ["/addons", "/apps/hello/addons", "/addon-attachments", "/apps/hello/sni-endpoints"]) {
      assert.deepEqual((await house.call("GET", path)).body, [], path);
    }
    const addon = await house.call("POST", "/apps/hello/addons", { plan: "sluice-postgresql" });
    assert.equal(addon.status, 422);
  });

  it("is written with the operator's domain and port", async () => {
    const { body: app } = await house.call("GET", "/apps/hello", undefined, { "x-forwarded-proto": "https" });
    assert.equal(app.web_url, "http://hello.apps.example.com/");
    assert.match(app.git_url, /^https:/);
    // The wildcard certificate covers app names below a domain of more than one label.
    assert.equal(house.control.feeds.routes.get(`certificate:host:hello.apps.example.com`), undefined);
    await house.call("POST", "/apps/hello/domains", { hostname: "www.example.org" });
    const own = house.control.feeds.routes.get("certificate:host:www.example.org") as CertificateRoute;
    assert.deepEqual(own.hosts, ["www.example.org"]);
  });

  it("turns features on and off", async () => {
    const { body: before } = await house.call("GET", "/apps/hello/features/preboot");
    assert.equal(before.enabled, true);
    assert.equal(before.state, "general");
    const off = await house.call("PATCH", "/apps/hello/features/preboot", { enabled: false });
    assert.equal(off.body.enabled, false);
    const on = await house.call("PATCH", "/apps/hello/features/sleep", { enabled: true });
    assert.equal(on.body.enabled, true);
    const { body: all } = await house.call("GET", "/apps/hello/features");
    const set = all.filter((feature: { enabled: boolean }) => feature.enabled);
    assert.deepEqual(
      set.map((feature: { name: string }) => feature.name),
      ["runtime-dyno-metadata", "sleep"],
    );
    assert.equal((await house.call("PATCH", "/apps/hello/features/none", { enabled: true })).status, 404);
    assert.equal((await house.call("PATCH", "/apps/hello/features/sleep", { enabled: "yes" })).status, 422);
  });
});
