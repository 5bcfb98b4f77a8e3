import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type House, openHouse } from "./house.ts";

describe("while the store is away", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
  });
  after(() => house.close());

  it("requests answer 503 with a sentence, health says so, and all that was acknowledged is there after", async () => {
    const acknowledged: string[] = [];
    const refused = new Set<string>();
    let writing = true;
    const writer = async (lane: number): Promise<void> => {
      for (let n = 0; writing; n++) {
        const name = `app-${lane}-${n}`;
        const answer = await house.call("POST", "/apps", { name });
        if (answer.status === 201) acknowledged.push(name);
        else {
          assert.equal(answer.status, 503, JSON.stringify(answer.body));
          assert.equal(answer.body.id, "store_unavailable");
          assert.match(answer.body.message, /try again\.$/);
          assert.equal(answer.headers.get("retry-after"), "1");
          refused.add(name);
        }
      }
    };
    const whole = async (check: () => boolean | Promise<boolean>): Promise<void> => {
      while (!(await check())) await new Promise(setImmediate);
    };
    const writers = [1, 2, 3].map(writer);
    await whole(() => acknowledged.length > 5);
    await house.postgres.kill();
    await whole(() => refused.size > 3);
    const health = await house.call("GET", "/health", undefined, { authorization: "", accept: "*/*" });
    assert.equal(health.status, 503);
    assert.equal(health.body.status, "degraded");
    assert.equal(health.body.parts.store, "down");
    assert.equal(health.body.parts.control, "up");
    const metrics = await house.call("GET", "/metrics");
    assert.match(metrics.body, /sluice_part_up\{part="store"\} 0/);
    const before = acknowledged.length;
    await house.postgres.start();
    await whole(() => acknowledged.length > before + 5);
    writing = false;
    await Promise.all(writers);

    const { pool } = house.control.store;
    const { rows } = await pool.query<{ name: string; domains: number; releases: number; id: string }>(
      `SELECT id, name, (SELECT count(*) FROM domains WHERE app_id = apps.id) AS domains,
         (SELECT count(*) FROM releases WHERE app_id = apps.id) AS releases FROM apps`,
    );
    const names = new Set(rows.map((row) => row.name));
    for (const name of acknowledged) assert.ok(names.has(name), name);
    for (const row of rows) {
      assert.deepEqual([row.domains, row.releases], [1, 2], row.name);
      // Published in the end also where the store went away between the commit and the publishing.
      if (acknowledged.includes(row.name)) {
        assert.ok(house.control.feeds.logSettings.get(`app:${row.id}`), row.name);
      }
    }
  });

  it("health is up again, and the metrics need the key", async () => {
    const health = await house.call("GET", "/health", undefined, { authorization: "", accept: "*/*" });
    assert.deepEqual(health.body.parts, {
      edge: "up",
      logplex: "down",
      control: "up",
      host: "up",
      store: "up",
    });
    assert.equal((await house.call("GET", "/metrics", undefined, { authorization: "" })).status, 401);
    const metrics = await house.call("GET", "/metrics", undefined, { accept: "*/*" });
    assert.match(metrics.body, /sluice_part_up\{part="logplex"\} 0/);
    assert.match(
      metrics.body,
      /sluice_api_request_seconds_count\{method="POST",route="\/apps",status="201"\}/,
    );
  });
});
