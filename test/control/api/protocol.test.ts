import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { RESOURCES } from "../../../src/control/api/resources.ts";
import { ACCEPT, type House, KEY, openHouse } from "./house.ts";

describe("the API's protocol", () => {
  let house: House;
  before(async () => {
    house = await openHouse({}, [
      ...RESOURCES,
      (server) => {
        server.get("/broken", async () => {
          throw new Error("secret detail at /some/path");
        });
      },
    ]);
  });
  after(() => house.close());

  it("wants the key, as bearer token or as basic password under any name", async () => {
    const basic = (pair: string) => ({ authorization: `Basic ${Buffer.from(pair).toString("base64")}` });
    for (const [headers, status] of [
      [{ authorization: "" }, 401],
      [{ authorization: "Bearer wrong" }, 401],
      [{ authorization: KEY }, 401],
      [basic("x:wrong"), 401],
      [basic(KEY), 401],
      [basic(`x:${KEY}`), 200],
      [basic(`:${KEY}`), 200],
      [{ authorization: `bearer ${KEY}` }, 200],
    ] as const) {
      const answer = await house.call("GET", "/account", undefined, headers);
      assert.equal(answer.status, status, JSON.stringify(headers));
      if (status === 401) {
        assert.equal(answer.body.id, "unauthorized");
        assert.match(answer.headers.get("www-authenticate")!, /^Basic /);
      } else assert.equal(answer.body.email, "admin@localhost");
    }
  });

  it("wants version 3 in Accept, of any variant", async () => {
    for (const [accept, status] of [
      ["application/json", 406],
      ["*/*", 406],
      ["application/vnd.heroku+json; version=2", 406],
      ["application/vnd.heroku+json; version=30", 406],
      ["application/vnd.heroku+json; version=3", 200],
      ["application/vnd.heroku+json; version=3.sdk", 200],
      ["application/vnd.heroku+json;version=3.account-quotas, */*", 200],
    ] as const) {
      const answer = await house.call("GET", "/account", undefined, { accept });
      assert.equal(answer.status, status, accept);
      if (status === 406) assert.equal(answer.body.id, "not_acceptable");
    }
  });

  it("answers every fault with Heroku's error body, and no stack", async () => {
    const long = "a".repeat(1024 * 1024);
    for (const [method, path, body, status, id] of [
      ["GET", "/nothing/here", undefined, 404, "not_found"],
      ["DELETE", "/account", undefined, 404, "not_found"],
      ["GET", "/apps/none", undefined, 404, "not_found"],
      ["POST", "/apps", "{", 400, "bad_request"],
      ["POST", "/apps", '{"__proto__": {"x": 1}}', 400, "bad_request"],
      ["POST", "/apps", "[]", 422, "invalid_params"],
      ["POST", "/apps", { name: 5 }, 422, "invalid_params"],
      ["POST", "/apps", { name: long }, 413, "request_too_large"],
      ["GET", "/%zz", undefined, 400, "bad_request"],
      ["GET", "/broken", undefined, 500, "internal_server_error"],
    ] as const) {
      const answer = await house.call(method, path, body);
      assert.equal(answer.status, status, `${method} ${path}`);
      assert.equal(answer.body.id, id);
      assert.match(answer.body.message, /^[A-Z].*\.$/);
      assert.deepEqual(Object.keys(answer.body), ["id", "message"]);
      assert.ok(!JSON.stringify(answer.body).includes("secret detail"));
      assert.ok(answer.headers.get("request-id"));
    }
  });

  it("names the member that is wrong", async () => {
    const answer = await house.call("POST", "/apps", { name: 5 });
    assert.equal(answer.body.message, "The field name must be string or null.");
  });

  it("keeps the client's request ids and adds its own", async () => {
    const given = "01234567-89ab-cdef-0123-456789abcdef";
    const answer = await house.call("GET", "/account", undefined, { "request-id": `${given}, <bad>` });
    const ids = answer.headers.get("request-id")!.split(",");
    assert.equal(ids.length, 2);
    assert.equal(ids[0], given);
  });

  it("answers 304 to a known ETag, and 412 to a change of what has changed", async () => {
    const created = await house.call("POST", "/apps", { name: "tagged" });
    assert.equal(created.status, 201);
    const first = await house.call("GET", "/apps/tagged");
    const etag = first.headers.get("etag")!;
    assert.ok(first.headers.get("last-modified"));
    const again = await house.call("GET", "/apps/tagged", undefined, { "if-none-match": `"x", W/${etag}` });
    assert.equal(again.status, 304);
    assert.equal(again.body, "");
    const on = await house.call("PATCH", "/apps/tagged", { maintenance: true }, { "if-match": etag });
    assert.equal(on.status, 200);
    const off = await house.call("PATCH", "/apps/tagged", { maintenance: false }, { "if-match": etag });
    assert.equal(off.status, 412);
    assert.equal(off.body.id, "precondition_failed");
    assert.equal((await house.call("GET", "/apps/tagged")).body.maintenance, true);
  });

  it("takes X-Http-Method-Override on POST", async () => {
    const answer = await house.call(
      "POST",
      "/apps/tagged",
      { maintenance: false },
      {
        "x-http-method-override": "PATCH",
      },
    );
    assert.equal(answer.status, 200);
    assert.equal(answer.body.maintenance, false);
  });

  it("is open to pages of other origins", async () => {
    const response = await fetch(`${house.url}/apps`, {
      method: "OPTIONS",
      headers: {
        origin: "https://dashboard.example.com",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,range",
      },
    });
    assert.equal(response.status, 204);
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    assert.match(response.headers.get("access-control-allow-methods")!, /PATCH/);
    assert.equal(response.headers.get("access-control-allow-headers"), "authorization,range");
  });

  it("closes the connection on what is no HTTP", async () => {
    const port = Number(new URL(house.url).port);
    const said = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\nbad header\n\n"));
      let text = "";
      socket.on("data", (chunk) => {
        text += chunk;
      });
      socket.on("close", () => resolve(text));
      socket.on("error", reject);
    });
    assert.doesNotMatch(said, /^HTTP\/1\.1 2/);
  });

  it("counts requests against the account's limit", async () => {
    const answer = await house.call("GET", "/account");
    const left = Number(answer.headers.get("ratelimit-remaining"));
    assert.ok(left > 4000 && left < 4500);
    const asked = await house.call("GET", "/account/rate-limits");
    assert.ok(asked.body.remaining >= left);
    const account = house.control.accounts.owner.id;
    while (house.control.rate.take(account));
    const refused = await house.call("GET", "/account");
    assert.equal(refused.status, 429);
    assert.equal(refused.body.id, "rate_limit");
  });
});

describe("lists", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
    for (const name of ["app-a", "app-b", "app-c", "app-d"]) await house.call("POST", "/apps", { name });
  });
  after(() => house.close());

  const names = async (range?: string) => {
    const answer = await house.call("GET", "/apps", undefined, range === undefined ? {} : { range });
    return {
      ...answer,
      names: Array.isArray(answer.body) ? answer.body.map((app) => app.name).join(" ") : "",
    };
  };

  it("come whole, in order, with their range", async () => {
    const answer = await names();
    assert.equal(answer.status, 200);
    assert.equal(answer.names, "app-a app-b app-c app-d");
    assert.equal(answer.headers.get("content-range"), "name app-a..app-d; max=200");
    assert.equal(answer.headers.get("next-range"), null);
    assert.match(answer.headers.get("accept-ranges")!, /name, id/);
  });

  it("are cut as the CLI asks, however it writes it", async () => {
    for (const [range, expected, status] of [
      ["name ..; max=2", "app-a app-b", 206],
      ["name ..; order=desc,max=1", "app-d", 206],
      ["name ..; max=3, order=desc", "app-d app-c app-b", 206],
      ["name ..; max=1000;", "app-a app-b app-c app-d", 200],
      ["name app-b..app-c", "app-b app-c", 200],
      ["name ]app-b..", "app-c app-d", 200],
      ["name ]app-c..; order=desc", "app-b app-a", 200],
      ["", "app-a app-b app-c app-d", 200],
    ] as const) {
      const answer = await names(range);
      assert.equal(answer.names, expected, range);
      assert.equal(answer.status, status, range);
    }
  });

  it("are read to their end by following Next-Range", async () => {
    for (const order of ["", ", order=desc"]) {
      const seen: string[] = [];
      let range: string | null = `name ..; max=1${order}`;
      while (range) {
        const answer = await names(range);
        seen.push(answer.names);
        range = answer.headers.get("next-range");
      }
      const all = ["app-a", "app-b", "app-c", "app-d"];
      assert.deepEqual(seen, order ? all.reverse() : all);
    }
  });

  it("refuse a range that cannot be read", async () => {
    for (const range of ["bytes=0-5", "size ..", "name ..; max=0", "name ..; max=x", "name ..; order=up"]) {
      const answer = await names(range);
      assert.equal(answer.status, 416, range);
      assert.equal(answer.body.id, "requested_range_not_satisfiable");
    }
  });

  it("answers HEAD like GET, without the body", async () => {
    const answer = await house.call("HEAD", "/apps", undefined, { accept: ACCEPT });
    assert.equal(answer.status, 200);
  });
});
