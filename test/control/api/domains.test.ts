import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { readHostname, renewOwnHostnames } from "../../../src/control/domains.ts";
import { type House, openHouse } from "./house.ts";

describe("domains", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
    await house.call("POST", "/apps", { name: "hello" });
    await house.call("POST", "/apps", { name: "other" });
  });
  after(() => house.close());

  it("are added, found by name or id, and removed, and the routes are told", async () => {
    const added = await house.call("POST", "/apps/hello/domains", {
      hostname: "WWW.Example.com.",
      sni_endpoint: null,
    });
    assert.equal(added.status, 201);
    assert.equal(added.body.hostname, "www.example.com");
    assert.equal(added.body.kind, "custom");
    assert.equal(added.body.cname, "hello.localhost");
    assert.equal(added.body.status, "none");
    for (const path of ["www.example.com", added.body.id]) {
      assert.deepEqual((await house.call("GET", `/apps/hello/domains/${path}`)).body, added.body);
    }
    const told = house.asked.filter((asked) => asked === `publishRoute ${added.body.app.id}`).length;
    const removed = await house.call("DELETE", "/apps/hello/domains/www.example.com");
    assert.equal(removed.status, 200);
    assert.equal(
      house.asked.filter((asked) => asked === `publishRoute ${added.body.app.id}`).length,
      told + 1,
    );
    assert.equal((await house.call("GET", "/apps/hello/domains/www.example.com")).status, 404);
  });

  it("belong to one app", async () => {
    await house.call("POST", "/apps/hello/domains", { hostname: "one.example.com" });
    const answer = await house.call("POST", "/apps/other/domains", { hostname: "one.example.com" });
    assert.equal(answer.status, 422);
    assert.match(answer.body.message, /already in use/);
    assert.equal((await house.call("DELETE", "/apps/other/domains/one.example.com")).status, 404);
  });

  it("do not take the app's own name away", async () => {
    const answer = await house.call("DELETE", "/apps/hello/domains/hello.localhost");
    assert.equal(answer.status, 422);
    assert.match(answer.body.message, /rename the app/);
  });

  it("follow the operator's app domain at the next start, unless that is another app's", async () => {
    const { pool } = house.control.store;
    await renewOwnHostnames(pool, "apps.example.net");
    const { body } = await house.call("GET", "/apps/hello/domains/hello.apps.example.net");
    assert.equal(body.kind, "heroku");
    await house.call("POST", "/apps/hello/domains", { hostname: "other.example.org" });
    await assert.rejects(renewOwnHostnames(pool, "example.org"), /cannot be example\.org: .*remove that/);
    await renewOwnHostnames(pool, "localhost");
  });

  it("are host names and nothing else", () => {
    assert.equal(readHostname("*.Example.com", "localhost"), "*.example.com");
    assert.equal(readHostname("bücher.example", "localhost"), "xn--bcher-kva.example");
    for (const text of [
      "",
      "example",
      "a b.com",
      "exa_mple..com",
      "http://example.com",
      "example.com/path",
      "example.com:80",
      "10.0.0.1",
      "*.*.example.com",
      "foo.*.com",
      "hello.localhost",
      "localhost",
      "-a.example.com",
      `${"a".repeat(64)}.example.com`,
      `${"a.".repeat(130)}com`,
      "ex\u0000ample.com",
    ]) {
      assert.throws(() => readHostname(text, "localhost"), { id: "invalid_params" }, text);
    }
  });
});
