import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDestination } from "../../src/logplex/drains/destination.ts";
import { HttpTransport } from "../../src/logplex/drains/http-transport.ts";
import { SyslogTransport } from "../../src/logplex/drains/syslog-transport.ts";

test("drain URLs are taken apart; default ports are Heroku's; credentials are never shown", () => {
  const parse = (url: string) => {
    const destination = parseDestination(url);
    assert.ok(destination, url);
    return destination;
  };
  assert.equal(parse("syslog://logs.example.com").port, 601);
  assert.equal(parse("syslog+tls://logs.example.com").port, 6514);
  assert.equal(parse("https://logs.example.com/x").port, 443);
  assert.equal(parse("syslog://logs.example.com:80/").port, 80);
  assert.equal(parse("https://u:p@logs.example.com:80/").port, 80);
  assert.equal(parse("syslog+tls://[2001:db8::1]:601").host, "2001:db8::1");
  const full = parse("https://us%20er:p%3Aw@logs.example.com:8443/in?key=1");
  assert.equal(full.hostHeader, "logs.example.com:8443");
  assert.equal(full.target, "/in?key=1");
  assert.equal(Buffer.from(full.authorization!.slice(6), "base64").toString(), "us er:p:w");
  assert.equal(full.shown, "https://logs.example.com:8443/");
  for (const bad of [
    "",
    "logs.example.com",
    "ftp://logs.example.com",
    "https://",
    "syslog://:99",
    "https://x:99999/",
  ]) {
    assert.equal(parseDestination(bad), null, bad);
  }
});

test("pauses and patience are Heroku's", () => {
  const options = { allowPrivate: true, onTrouble: () => {} };
  const http = new HttpTransport(parseDestination("http://127.0.0.1:1/")!, "d.1", options);
  assert.equal(http.pause(1), 0);
  for (let failures = 2; failures < 40; failures += 1) {
    const pause = http.pause(failures);
    assert.ok(pause >= 10 && pause <= 10 * 2 ** Math.min(failures, 10), `${pause}`);
  }
  assert.equal(http.hopeless(99, 299_999), false);
  assert.equal(http.hopeless(1, 300_000), true);
  http.close();
  const syslog = new SyslogTransport(parseDestination("syslog://127.0.0.1:1")!, "d.1", options);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map((failures) => syslog.pause(failures)),
    [30_000, 60_000, 120_000, 240_000, 300_000, 300_000],
  );
  assert.equal(syslog.hopeless(9), false);
  assert.equal(syslog.hopeless(10), true);
  syslog.close();
});
