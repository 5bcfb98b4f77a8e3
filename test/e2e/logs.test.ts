import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { selfSigned } from "../cli/self-signed.ts";
import { ownFolder, startSluice, until } from "./sluice.ts";

/** Says a line at its start and at each request, and ends itself when asked to. */
const TALKER = {
  "package.json": JSON.stringify({ name: "talker", version: "1.0.0" }),
  Procfile: "web: node index.js\n",
  "index.js": `
    require("node:http").createServer((request, response) => {
      console.log("asked for " + request.url);
      response.end();
      if (request.url === "/crash") setTimeout(() => process.exit(3), 20);
    }).listen(process.env.PORT);`,
};

const TIME = "\\d{4}-\\d\\d-\\d\\dT[\\d:]{8}\\.\\d{1,6}\\+00:00";
/** A frame's header and text as an HTTPS drain gets them: no structured data, and `host` (contract, section 3). */
const IN_HTTPS = (pri: number, from: string, text: string): RegExp =>
  new RegExp(`^<${pri}>1 ${TIME} host ${from} - ${text}`, "m");
/** The same as a syslog drain gets them: RFC 5424 with the drain's token as the host. */
const IN_SYSLOG = (token: string) => (pri: number, from: string, text: string) =>
  new RegExp(`^<${pri}>1 ${TIME} ${token} ${from} - - ${text}`, "m");

/** Octet-counted messages of `bytes`, one a line. */
function messages(bytes: Buffer): string {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(32, at);
    const length = Number(bytes.toString("latin1", at, space));
    assert.ok(length > 0, "every message begins with its length");
    found.push(bytes.toString("utf8", space + 1, space + 1 + length).trimEnd());
    at = space + 1 + length;
  }
  return found.join("\n");
}

test("an app's lines reach log sessions, a syslog and an HTTPS drain, in Heroku's form", async (t) => {
  const folder = ownFolder(t);
  const secure = await selfSigned();
  const ca = path.join(folder, "drain-ca.pem");
  // Beside those that this machine trusts already: builds are given the file too.
  const known = process.env.NODE_EXTRA_CA_CERTS;
  writeFileSync(ca, secure.cert + (known ? `\n${readFileSync(known, "utf8")}` : ""));

  const posts: { headers: NodeJS.Dict<string | string[]>; body: Buffer }[] = [];
  const web = https.createServer(secure, async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    posts.push({ headers: request.headers, body: Buffer.concat(parts) });
    response.writeHead(204).end();
  });
  let syslogBytes = Buffer.alloc(0);
  const syslog = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      syslogBytes = Buffer.concat([syslogBytes, chunk]);
    });
  });
  for (const server of [web, syslog]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  t.after(() => {
    web.close();
    web.closeAllConnections();
    syslog.close();
  });
  const port = (server: net.Server): number => (server.address() as AddressInfo).port;

  const sluice = await startSluice(t, { folder, env: { NODE_EXTRA_CA_CERTS: ca } });
  await sluice.must(["create", "talker", "--no-remote"]);
  await sluice.must(["drains:add", "-a", "talker", `https://user:pass@127.0.0.1:${port(web)}/in`]);
  await sluice.must(["drains:add", "-a", "talker", `syslog://127.0.0.1:${port(syslog)}`]);
  const drains = JSON.parse(await sluice.must(["drains", "-a", "talker", "--json"])) as {
    url: string;
    token: string;
  }[];
  const token = drains.find(({ url }) => url.startsWith("syslog:"))!.token;
  assert.match(token, /^d\.[0-9a-f-]{36}$/);

  const repository = await sluice.repository("", TALKER);
  await sluice.must(["git:remote", "-a", "talker"], { cwd: repository });
  const pushed = await sluice.push(repository);
  assert.equal(pushed.status, 0, pushed.stderr);
  await until(async () => (await sluice.get("talker", "/first")).status === 200, "the app to answer");
  await sluice.must(["ps:scale", "-a", "talker", "web=2"]);
  await sluice.get("talker", "/crash");

  const expected: [pri: number, from: string, text: string][] = [
    [133, "app api", "Build started by user admin@localhost"],
    [133, "app api", "Deploy [0-9a-f]{8} by user admin@localhost"],
    [133, "app api", "Release v3 created by user admin@localhost"],
    [133, "app api", "Build succeeded"],
    [133, "app api", "Scaled to web@2:Basic by user admin@localhost"],
    [134, "heroku web.1", "Starting process with command `node index.js`"],
    [134, "heroku web.1", "State changed from starting to up"],
    [134, "heroku web\\.[12]", "Process exited with status 3"],
    [134, "heroku web\\.[12]", "State changed from up to crashed"],
    [190, "app web\\.[12]", "asked for /first"],
    [
      134,
      "heroku router",
      'at=info method=GET path="/first" host=talker.localhost\\S* request_id=\\S+ fwd="127.0.0.1"',
    ],
  ];
  const inSyslog = IN_SYSLOG(token.replace(".", "\\."));
  for (const line of expected) {
    await until(
      () => inSyslog(...line).test(messages(syslogBytes)),
      `${line.join(" ")} in the syslog drain`,
      20_000,
      () => messages(syslogBytes),
    );
    await until(
      () => IN_HTTPS(...line).test(messages(Buffer.concat(posts.map(({ body }) => body)))),
      `${line.join(" ")} in the HTTPS drain`,
      20_000,
      () => messages(Buffer.concat(posts.map(({ body }) => body))),
    );
  }
  for (const { headers, body } of posts) {
    assert.equal(headers["content-type"], "application/logplex-1");
    assert.equal(headers.authorization, `Basic ${Buffer.from("user:pass").toString("base64")}`);
    assert.equal(Number(headers["logplex-msg-count"]), messages(body).split("\n").length);
    assert.match(String(headers["logplex-drain-token"]), /^d\.[0-9a-f-]{36}$/);
    assert.match(String(headers["logplex-frame-id"]), /./);
  }
  assert.equal(new Set(posts.map(({ headers }) => headers["logplex-frame-id"])).size, posts.length);

  await t.test("log sessions: -n, --source and --ps", async () => {
    const lines = async (...args: string[]): Promise<string[]> =>
      (await sluice.must(["logs", "-a", "talker", ...args])).trimEnd().split("\n");
    assert.equal((await lines("-n", "2")).length, 2);
    const all = await lines("-n", "1500");
    const of = (mark: RegExp): string[] => all.filter((line) => mark.test(line));
    assert.deepEqual(await lines("-n", "1500", "--source", "heroku"), of(/^\S+ heroku\[/));
    assert.deepEqual(await lines("-n", "1500", "--ps", "web"), of(/^\S+ \w+\[web\.\d+\]/));
    assert.deepEqual(await lines("-n", "1500", "--source", "app", "--ps", "api"), of(/^\S+ app\[api\]/));
    assert.ok(of(/ app\[web\.\d\]: asked for \/first$/).length > 0);
  });
});
