import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openLogSettings } from "../../../src/control/log-settings.ts";
import { FeedPublisher } from "../../../src/wire/feed.ts";
import type { AppLogSettings, LogSession, LogSetting } from "../../../src/wire/log-settings.ts";
import { type House, openHouse } from "./house.ts";

describe("log settings", () => {
  let house: House;
  let app: string;
  before(async () => {
    house = await openHouse();
    app = (await house.call("POST", "/apps", { name: "hello" })).body.id;
  });
  after(() => house.close());
  const settings = () => house.control.feeds.logSettings.get(`app:${app}`) as AppLogSettings;

  it("hold the app's drains, whose URLs are sealed in the store", async () => {
    const url = "https://user:secret@logs.example.com/in?x=1";
    const added = await house.call("POST", "/apps/hello/log-drains", { url });
    assert.equal(added.status, 201);
    assert.match(added.body.token, /^d\.[0-9a-f-]{36}$/);
    assert.equal(added.body.addon, null);
    assert.deepEqual(settings().drains, [{ id: added.body.id, token: added.body.token, url }]);
    const { rows } = await house.control.store.pool.query("SELECT url FROM log_drains");
    assert.ok(!rows[0].url.includes("secret"));
    for (const path of [added.body.id, added.body.token, encodeURIComponent(url)]) {
      assert.equal((await house.call("GET", `/apps/hello/log-drains/${path}`)).body.url, url);
    }
    const again = await house.call("POST", "/apps/hello/log-drains", { url });
    assert.equal(again.status, 422);
    const removed = await house.call("DELETE", `/apps/hello/log-drains/${encodeURIComponent(url)}`);
    assert.equal(removed.status, 200);
    assert.deepEqual(settings().drains, []);
    assert.equal((await house.call("DELETE", `/apps/hello/log-drains/${added.body.id}`)).status, 404);
  });

  it("refuse drains that cannot be, and more than five of an app", async () => {
    for (const url of ["", "logs.example.com", "ftp://example.com/", "file:///etc/passwd", "https://", 5]) {
      const answer = await house.call("POST", "/apps/hello/log-drains", { url });
      assert.equal(answer.status, 422, String(url));
    }
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6, 7].map((n) =>
        house.call("POST", "/apps/hello/log-drains", { url: `syslog+tls://logs.example.com:651${n}` }),
      ),
    );
    assert.deepEqual(answers.map((answer) => answer.status).sort(), [201, 201, 201, 201, 201, 422, 422]);
    assert.equal(settings().drains.length, 5);
  });

  it("hold outside log sources, whose token fits syslog's app-name field", async () => {
    const made = await house.call("POST", "/apps/hello/log-sources", { name: "nginx-1" });
    assert.equal(made.status, 201);
    assert.ok(made.body.token.length <= 48);
    assert.equal(made.body.http_url, "http://127.0.0.1:6515/logs");
    assert.equal(made.body.syslog_url, "syslog://127.0.0.1:6514");
    assert.deepEqual(settings().sources, [{ id: made.body.id, name: "nginx-1", token: made.body.token }]);
    assert.equal((await house.call("POST", "/apps/hello/log-sources", { name: "nginx-1" })).status, 422);
    assert.equal((await house.call("POST", "/apps/hello/log-sources", { name: "a b" })).status, 422);
    assert.equal((await house.call("GET", "/apps/hello/log-sources")).body.length, 1);
    assert.equal((await house.call("DELETE", "/apps/hello/log-sources/nginx-1")).status, 200);
    assert.deepEqual(settings().sources, []);
  });

  it("hold a session for each that was asked for, under its own secret", async () => {
    const made = await house.call("POST", "/apps/hello/log-sessions", {
      lines: 20,
      tail: true,
      source: "app",
      dyno: "web",
    });
    assert.equal(made.status, 201);
    const url = new URL(made.body.logplex_url);
    assert.equal(url.origin, "http://127.0.0.1:6515");
    const token = url.pathname.replace("/sessions/", "");
    assert.equal(Buffer.from(token, "base64url").length, 32);
    const session = house.control.feeds.logSettings.get(`session:${token}`) as LogSession;
    assert.deepEqual(
      { ...session, expires: session.expires > Date.now() },
      { kind: "session", token, app, tail: true, lines: 20, source: "app", dyno: "web", expires: true },
    );
    for (const [body, lines] of [
      [undefined, 100],
      [{ lines: 5000 }, 1500],
    ] as const) {
      const answer = await house.call("POST", "/apps/hello/log-sessions", body);
      const key = `session:${new URL(answer.body.logplex_url).pathname.split("/").at(-1)}`;
      assert.equal((house.control.feeds.logSettings.get(key) as LogSession).lines, lines);
    }
    assert.equal((await house.call("POST", "/apps/hello/log-sessions", { dyno: "web 1" })).status, 422);
    assert.equal((await house.call("POST", "/apps/hello/log-sessions", { lines: "x" })).status, 422);
  });

  it("are the same for the control that comes after", async () => {
    const feed = new FeedPublisher<LogSetting>(2);
    const next = await openLogSettings(house.control.store, feed, house.control.log);
    const sorted = (entries: Iterable<[string, LogSetting]>) =>
      [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(sorted(feed.entries()), sorted(house.control.feeds.logSettings.entries()));
    next.close();
  });
});
