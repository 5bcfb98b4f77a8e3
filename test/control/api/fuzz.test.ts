import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as account from "../../../src/control/api/account.ts";
import * as apps from "../../../src/control/api/apps.ts";
import * as authorizations from "../../../src/control/api/authorizations.ts";
import * as domains from "../../../src/control/api/domains.ts";
import * as features from "../../../src/control/api/features.ts";
import * as logDrains from "../../../src/control/api/log-drains.ts";
import * as logSessions from "../../../src/control/api/log-sessions.ts";
import * as logSources from "../../../src/control/api/log-sources.ts";
import { type House, openHouse } from "./house.ts";

/** A small generator with a seed, so that a failure comes again (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ROUTES: [string, string[]][] = [
  ["POST /apps", ["name", "stack", "region"]],
  ["PATCH /apps/:app", ["name", "maintenance", "build_stack"]],
  ["GET /apps/:app", []],
  ["POST /apps/:app/domains", ["hostname", "sni_endpoint"]],
  ["GET /apps/:app/domains/:x", []],
  ["DELETE /apps/:app/domains/:x", []],
  ["POST /apps/:app/log-drains", ["url"]],
  ["DELETE /apps/:app/log-drains/:x", []],
  ["POST /apps/:app/log-sources", ["name"]],
  ["POST /apps/:app/log-sessions", ["lines", "tail", "source", "dyno", "type"]],
  ["PATCH /apps/:app/features/sleep", ["enabled"]],
  ["GET /apps/:app/features/:x", []],
  ["POST /oauth/authorizations", ["scope", "description", "expires_in"]],
  ["DELETE /oauth/authorizations/:x", []],
  ["GET /users/:x", []],
];

const VALUES: unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 31,
  1e300,
  "",
  "a",
  "hello",
  "\u0000",
  "ok\u0000no",
  "\ud800",
  "x".repeat(5000),
  "../../etc",
  "'; DROP TABLE apps; --",
  "https://user:pw@[::1]:0/",
  "syslog://\u0000",
  "*.example.com",
  "00000000-0000-0000-0000-000000000000",
  [],
  ["global", "\u0000"],
  {},
  { name: "heroku-24", id: 5 },
];

describe("whatever is sent", () => {
  let house: House;
  before(async () => {
    house = await openHouse(
      {},
      [account, apps, authorizations, domains, features, logDrains, logSessions, logSources].map(
        (one) => one.register,
      ),
    );
    await house.call("POST", "/apps", { name: "hello" });
  });
  after(() => house.close());

  it("is answered, never with a fault of ours, and every refusal says why", async () => {
    const random = generator(20261124);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
    const segment = (): string => {
      const value = pick(VALUES);
      const text = typeof value === "string" && value.length < 100 ? value : String(value).slice(0, 50);
      return encodeURIComponent(Buffer.from(text).toString()) || "%20";
    };
    for (let n = 0; n < 400; n++) {
      const [route, fields] = pick(ROUTES);
      const [method, pattern] = route.split(" ") as [string, string];
      const path = pattern
        .replace(":app", () => (random() < 0.8 ? "hello" : segment()))
        .replace(":x", segment);
      const body =
        fields.length === 0
          ? undefined
          : random() < 0.1
            ? pick(VALUES)
            : Object.fromEntries(fields.filter(() => random() < 0.8).map((field) => [field, pick(VALUES)]));
      const range: Record<string, string> =
        random() < 0.2 ? { range: pick(["id ..", "x", "name ]..; max=1"]) } : {};
      const answer = await house.call(method, path, body, range);
      const told = `${method} ${path} ${JSON.stringify(body)?.slice(0, 200)}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`;
      assert.ok(answer.status < 500, told);
      if (answer.status >= 400) {
        assert.deepEqual(Object.keys(answer.body), ["id", "message"], told);
        assert.match(answer.body.message, /\S{2}.*[.!?]$/s, told);
      }
      if (method === "PATCH" && pattern === "/apps/:app" && answer.status === 200) {
        await house.call("PATCH", `/apps/${answer.body.id}`, { name: "hello" });
      }
    }
  });
});
