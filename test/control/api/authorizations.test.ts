import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openAccounts, sha256 } from "../../../src/control/accounts.ts";
import { type House, KEY, openHouse } from "./house.ts";

describe("authorizations", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
    await house.call("POST", "/apps", { name: "hello" });
  });
  after(() => house.close());
  const as = (token: string) => ({ authorization: `Bearer ${token}` });
  const make = async (body?: unknown) => {
    const answer = await house.call("POST", "/oauth/authorizations", body);
    assert.equal(answer.status, 201);
    return answer.body;
  };

  it("give a token once, and until it is revoked", async () => {
    const made = await make({ description: "for CI" });
    const { token } = made.access_token;
    assert.deepEqual(made.scope, ["global"]);
    assert.equal((await house.call("GET", "/account", undefined, as(token))).status, 200);
    const listed = await house.call("GET", "/oauth/authorizations");
    assert.ok(!JSON.stringify(listed.body).includes(token));
    const { rows } = await house.control.store.pool.query(
      "SELECT token_sha256 FROM authorizations WHERE id = $1",
      [made.id],
    );
    assert.deepEqual(rows[0].token_sha256, sha256(token));
    assert.equal((await house.call("DELETE", `/oauth/authorizations/${made.id}`)).status, 200);
    assert.equal((await house.call("GET", "/account", undefined, as(token))).status, 401);
  });

  it("end when their time is over", async () => {
    const made = await make({ expires_in: 100 });
    assert.equal(made.access_token.expires_in, 100);
    await house.control.store.pool.query(
      "UPDATE authorizations SET expires_at = now() - interval '1 second' WHERE id = $1",
      [made.id],
    );
    assert.equal((await house.call("GET", "/account", undefined, as(made.access_token.token))).status, 401);
    for (const expires_in of [0, -1, "soon", 1e12]) {
      assert.equal((await house.call("POST", "/oauth/authorizations", { expires_in })).status, 422);
    }
  });

  it("reach as far as their scope", async () => {
    for (const [scope, expected] of [
      ["identity", { account: 200, apps: 403, features: 403, change: 403, drains: 403, tokens: 403 }],
      ["read", { account: 200, apps: 200, features: 200, change: 403, drains: 403, tokens: 403 }],
      ["read-protected", { account: 200, apps: 200, features: 200, change: 403, drains: 200, tokens: 403 }],
      ["write", { account: 200, apps: 200, features: 200, change: 200, drains: 403, tokens: 403 }],
      ["write-protected", { account: 200, apps: 200, features: 200, change: 200, drains: 200, tokens: 403 }],
      ["global", { account: 200, apps: 200, features: 200, change: 200, drains: 200, tokens: 200 }],
    ] as const) {
      const { access_token } = await make({ scope: [scope] });
      const call = async (method: string, path: string, body?: unknown) =>
        (await house.call(method, path, body, as(access_token.token))).status;
      assert.deepEqual(
        {
          account: await call("GET", "/account"),
          apps: await call("GET", "/apps"),
          features: await call("GET", "/apps/hello/features"),
          change: await call("PATCH", "/apps/hello", { maintenance: false }),
          drains: await call("GET", "/apps/hello/log-drains"),
          tokens: await call("GET", "/oauth/authorizations"),
        },
        expected,
        scope,
      );
    }
    const refused = await house.call("POST", "/oauth/authorizations", { scope: ["everything"] });
    assert.equal(refused.status, 422);
  });

  it("do not revoke the key that Sluice was started with", async () => {
    const listed = await house.call("GET", "/oauth/authorizations");
    const own = listed.body.find((row: { description: string }) => row.description.startsWith("API key"));
    assert.equal((await house.call("DELETE", `/oauth/authorizations/${own.id}`)).status, 422);
    assert.equal((await house.call("DELETE", "/oauth/authorizations/none")).status, 404);
  });

  it("let a new key take the old one's place at the next start", async () => {
    const { store } = house.control;
    const next = await openAccounts(store, "new@example.com", "another-key-of-the-tests");
    assert.equal(next.owner.id, house.control.accounts.owner.id);
    assert.equal(next.owner.email, "new@example.com");
    assert.equal(await next.authenticate(`Bearer ${KEY}`), null);
    assert.equal((await next.authenticate("Bearer another-key-of-the-tests"))?.email, "new@example.com");
  });
});
