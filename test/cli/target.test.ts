import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { readTarget } from "../../src/cli/target.ts";
import { peer } from "./peer.ts";
import { sluice, temporaryFolder } from "./sluice.ts";

const account = { id: "1", email: "admin@localhost" };

test("login checks the key and keeps it for its user alone", async (t) => {
  const { url, seen } = await peer(t, { "GET /account": account });
  const HOME = temporaryFolder(t);
  const result = await sluice(["login", `${url}/`], { env: { HOME }, input: "a-key\n" });
  assert.deepEqual(result, { status: 0, out: `Logged in to ${url} as admin@localhost.\n`, err: "" });
  assert.equal(seen[0]!.headers.authorization, "Bearer a-key");
  const file = path.join(HOME, ".config/sluice/config.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(path.dirname(file)).mode & 0o777, 0o700);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), { url, key: "a-key" });

  const who = await sluice(["whoami"], { env: { HOME } });
  assert.equal(who.out, `admin@localhost at ${url}\n`);
});

test("login changes nothing when the key is refused", async (t) => {
  const { url } = await peer(t, {
    "GET /account": (_, response) => {
      response.writeHead(401, { "Content-Type": "application/json" });
      response.end('{"id":"unauthorized","message":"Invalid credentials provided."}');
    },
  });
  const HOME = temporaryFolder(t);
  const result = await sluice(["login", url], { env: { HOME }, input: "wrong\n" });
  assert.equal(result.status, 1);
  assert.equal(result.err, `sluice: ${url} refuses the API key; log in anew with \`sluice login ${url}\`.\n`);
  assert.throws(() => statSync(path.join(HOME, ".config")));
});

test("a saved key goes to the saved URL only", (t) => {
  const HOME = temporaryFolder(t);
  mkdirSync(path.join(HOME, ".config/sluice"), { recursive: true });
  const saved = {
    url: "http://127.0.0.1:5000",
    key: "saved",
    ca: "/ca.pem",
    tlsUrl: "https://127.0.0.1:5443",
  };
  writeFileSync(path.join(HOME, ".config/sluice/config.json"), JSON.stringify(saved));
  assert.deepEqual(readTarget({ HOME }), saved);
  assert.equal(readTarget({ HOME, SLUICE_API_KEY: "given" }).key, "given");
  assert.equal(readTarget({ HOME, SLUICE_API_URL: saved.tlsUrl }).key, "saved");
  assert.throws(
    () => readTarget({ HOME, SLUICE_API_URL: "http://evil.example:5000" }),
    /There is no API key for/,
  );
  const other = readTarget({ HOME, SLUICE_API_URL: "http://10.0.0.1:5000", SLUICE_API_KEY: "k" });
  assert.deepEqual(other, {
    url: "http://10.0.0.1:5000",
    key: "k",
    ca: null,
    tlsUrl: "https://10.0.0.1:5443",
  });
});

test("settings that cannot be used are told in a sentence", async (t) => {
  const HOME = temporaryFolder(t);
  const none = await sluice(["apps"], { env: { HOME } });
  assert.equal(none.status, 1);
  assert.match(none.err, /^sluice: There is no Sluice to speak to yet: .*npm start.*\n$/);
  mkdirSync(path.join(HOME, ".config/sluice"), { recursive: true });
  writeFileSync(path.join(HOME, ".config/sluice/config.json"), "{");
  const broken = await sluice(["apps"], { env: { HOME } });
  assert.equal(broken.status, 1);
  assert.match(broken.err, /config\.json does not hold a URL and a key; .*\n$/);
  const url = await sluice(["apps"], { env: { HOME, SLUICE_API_URL: "nonsense", SLUICE_API_KEY: "k" } });
  assert.equal(url.status, 2);
  assert.match(url.err, /SLUICE_API_URL is "nonsense"/);
});

test("a server that is not there is told with what to do", async (t) => {
  const { url } = await peer(t, {});
  // A port that was just free; nothing listens on port 1 of loopback either.
  const gone = await sluice(["apps"], { env: { SLUICE_API_URL: "http://127.0.0.1:1", SLUICE_API_KEY: "k" } });
  assert.equal(gone.status, 1);
  assert.match(
    gone.err,
    /^sluice: Nothing answers at http:\/\/127\.0\.0\.1:1: start Sluice there with `npm start`/,
  );
  const refused = await sluice(["info", "-a", "nope"], { env: { SLUICE_API_URL: url, SLUICE_API_KEY: "k" } });
  assert.deepEqual(refused, { status: 1, out: "", err: "sluice: There is no /apps/nope.\n" });
});

test("the app is told by -a, SLUICE_APP, or the remote", async (t) => {
  const { env, seen } = await peer(t, {});
  const cwd = temporaryFolder(t);
  const git = (...args: string[]) => assert.equal(spawnSync("git", args, { cwd }).status, 0);
  const asked = async (args: string[], more: NodeJS.ProcessEnv = {}): Promise<string> => {
    seen.length = 0;
    const result = await sluice(["maintenance", ...args], { env: { ...env, ...more }, cwd });
    return seen[0]?.path ?? `${result.status}: ${result.err}`;
  };
  assert.match(await asked([]), /^2: sluice: Which app\? Use -a APP/);
  git("init", "-q");
  assert.match(await asked([]), /^2: sluice: Which app\?/);
  git("remote", "add", "origin", "https://example.com/team/source.git");
  git("remote", "add", "heroku", "https://127.0.0.1:5443/from-heroku.git");
  assert.equal(await asked([]), "/apps/from-heroku");
  git("remote", "add", "sluice", "http://127.0.0.1:5000/from-sluice.git");
  assert.equal(await asked([]), "/apps/from-sluice");
  assert.equal(await asked([], { SLUICE_APP: "from-env" }), "/apps/from-env");
  assert.equal(await asked(["-r", "heroku"], { SLUICE_APP: "from-env" }), "/apps/from-heroku");
  assert.equal(await asked(["-a", "from-option"], { SLUICE_APP: "from-env" }), "/apps/from-option");
  assert.match(await asked(["-r", "nope"]), /^2: sluice: This repository has no git remote nope/);
});

test("git gets the key for its server and for no other", async () => {
  const env = { SLUICE_API_URL: "http://127.0.0.1:5000", SLUICE_API_KEY: "the-key" };
  const ask = async (operation: string, protocol: string, host: string) =>
    (
      await sluice(["git-credentials", operation], {
        env,
        input: `protocol=${protocol}\nhost=${host}\npath=x\n\n`,
      })
    ).out;
  assert.equal(await ask("get", "http", "127.0.0.1:5000"), "username=sluice\npassword=the-key\n");
  assert.equal(await ask("get", "https", "127.0.0.1:5443"), "username=sluice\npassword=the-key\n");
  assert.equal(await ask("get", "https", "github.com"), "");
  assert.equal(await ask("store", "http", "127.0.0.1:5000"), "");
});
