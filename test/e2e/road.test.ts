import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { checkout } from "../../src/supervisor/checkout.ts";
import { atEnd } from "../at-end.ts";
import { needsRoot, run, type Sluice, startSluice, until } from "./sluice.ts";

/** Waits until the app answers 200, and returns what it said. */
async function answers(sluice: Sluice, app: string, target = "/"): Promise<string> {
  let body = "";
  await until(async () => {
    const answer = await sluice.get(app, target);
    body = answer.body;
    return answer.status === 200;
  }, `${app} to answer 200`);
  return body;
}

/** Runs the Python of the slug's tree in a root of its own that holds the C and C++ libraries and bash. */
const BARE = `set -e
mkdir -p bare/bin bare/app bare/tmp
cp /bin/bash bare/bin/
for file in $(ldd /bin/bash | grep -o '/[^ )]*') $(ldconfig -p | grep -oE '/[^ ]*/lib(c|m|dl|util|rt|pthread|gcc_s|stdc[+][+])[.]so[.][0-9]+$'); do
  mkdir -p "bare$(dirname "$file")" && cp -L "$file" "bare$file"
done
cp -a "$1/." bare/app/
chroot bare /bin/bash -c 'export HOME=/app; for file in /app/.profile.d/*.sh; do . "$file"; done
  python3 -c "import ctypes, hashlib, lzma, sqlite3, ssl, sys, zlib; print(ssl.OPENSSL_VERSION, \\"at\\", sys.prefix)"'`;

test("the whole road: create, push, request, logs, config, scale, run, rollback, restart", async (t) => {
  const sluice = await startSluice(t);
  const repository = await sluice.repository("node-worker");

  await sluice.must(["create", "hello"], { cwd: repository });
  const pushed = await sluice.push(repository);
  assert.equal(pushed.status, 0, pushed.stderr + sluice.stderr);
  assert.match(pushed.stderr, /remote: -----> Node\.js app detected/);
  assert.match(pushed.stderr, /remote: -----> Launching\.\.\.\s+\n?remote: {8}Released v3/);
  assert.match(pushed.stderr, /http:\/\/hello\.localhost:\d+/);
  await answers(sluice, "hello");

  await t.test("logs --tail shows router, dyno, platform and API lines as they come", async () => {
    const tail = spawn(
      process.execPath,
      [path.join(checkout, "bin/sluice"), "logs", "--tail", "-a", "hello"],
      {
        env: sluice.clientEnv(),
      },
    );
    let seen = "";
    tail.stdout.on("data", (chunk) => {
      seen += chunk;
    });
    atEnd(t, () => tail.kill());
    await sluice.get("hello", "/from-the-test");
    for (const line of [
      /heroku\[router\]: at=info method=GET path="\/from-the-test" host=hello\.localhost.* dyno=web\.1 connect=\d+ms service=\d+ms status=200/,
      /app\[web\.1\]: /,
      /heroku\[web\.1\]: State changed from starting to up/,
      /app\[api\]: Release v3 created by user admin@localhost/,
    ]) {
      await until(
        () => line.test(seen),
        `${line}`,
        20_000,
        () => seen,
      );
    }
    tail.kill();
    const router = await sluice.must([
      "logs",
      "-a",
      "hello",
      "-n",
      "50",
      "--source",
      "heroku",
      "--ps",
      "router",
    ]);
    assert.match(router, /from-the-test/);
    assert.doesNotMatch(router, /app\[/);
  });

  await t.test("config:set makes a release, restarts, and reaches the dynos", async () => {
    await sluice.must(["config:set", "-a", "hello", "GREETING=good evening"]);
    assert.match(await sluice.must(["releases", "-a", "hello"]), /v4.*Set GREETING config vars/);
    assert.match(await sluice.must(["config:get", "-a", "hello", "GREETING"]), /^good evening$/m);
    const said = await sluice.must(["run", "-a", "hello", "echo $GREETING"]);
    assert.match(said, /^good evening\r?$/m);
    await answers(sluice, "hello");
  });

  await t.test("scale starts and stops dynos of each type", async () => {
    await sluice.must(["ps:scale", "-a", "hello", "web=2", "worker=1"]);
    await until(async () => {
      const { body } = await sluice.call("GET", "/apps/hello/dynos");
      const up = (body as { name: string; state: string }[]).filter(({ state }) => state === "up");
      return (
        up
          .map(({ name }) => name)
          .sort()
          .join() === "web.1,web.2,worker.1"
      );
    }, "web.1, web.2 and worker.1 to be up");
    await sluice.must(["ps:scale", "-a", "hello", "web=1", "worker=0"]);
  });

  await t.test("run passes input, output and the exit status", async () => {
    const ran = await sluice.cli(["run", "-a", "hello", "cat; exit 7"], { input: "a line of mine\n" });
    assert.equal(ran.status, 7, ran.stderr);
    assert.match(ran.stdout, /a line of mine/);
  });

  await t.test("rollback is a new release of an earlier one", async () => {
    await sluice.must(["rollback", "-a", "hello", "v3"]);
    assert.match(await sluice.must(["releases", "-a", "hello"]), /v5.*Rollback to v3/);
    assert.match(await sluice.must(["config", "-a", "hello", "--json"]), /^\s*\{\s*\}\s*$/);
    await answers(sluice, "hello");
  });

  await t.test(
    "a push that cannot be built is rejected with a sentence, and the old release goes on",
    async () => {
      await sluice.commit(repository, "Break the Procfile", { Procfile: "web node web.js\n" });
      const broken = await sluice.push(repository);
      assert.notEqual(broken.status, 0);
      assert.match(broken.stderr, /Procfile/);
      assert.match(broken.stderr, /pre-receive hook declined|remote rejected/);
      await answers(sluice, "hello");
      const nothing = await sluice.repository("", { "letter.txt": "no app" });
      await sluice.must(["create", "nothing"], { cwd: nothing });
      const refused = await sluice.push(nothing);
      assert.notEqual(refused.status, 0);
      assert.match(refused.stderr, /No default language could be detected|buildpack/);
    },
  );
});

test("Node.js with dependencies, Python with vendored wheels, and a static site deploy; all are there again after a restart", async (t) => {
  let sluice = await startSluice(t);
  await sluice.deploy("express", "node-express-like");
  await sluice.deploy("snake", "python");
  await sluice.deploy("site", "static");
  const before = [
    await answers(sluice, "express"),
    await answers(sluice, "snake"),
    await answers(sluice, "site"),
  ];
  assert.match(before[2]!, /<html|<!doctype html/i);
  await t.test("the slug brings its own Python to a bare stack", { skip: needsRoot }, async () => {
    const slugs = path.join(sluice.home, "host", "slugs");
    const tree = readdirSync(slugs).find((name) => existsSync(path.join(slugs, name, "app/.heroku/python")));
    assert.ok(tree, "the host keeps the slug's tree");
    // The C library's own folder and a shell, and nothing else of the machine.
    const said = await run("sh", ["-c", BARE, "sh", path.join(slugs, tree, "app")], {
      cwd: sluice.folder,
      env: { PATH: process.env.PATH },
    });
    assert.equal(said.status, 0, said.stderr);
    assert.match(said.stdout, /^OpenSSL .* at \/app\/\.heroku\/python$/m);
  });
  assert.equal(await sluice.stop(), 0, sluice.stderr);

  const started = Date.now();
  sluice = await startSluice(t, { folder: sluice.folder });
  t.diagnostic(`second start to ready: ${Date.now() - started} ms`);
  assert.deepEqual(
    [await answers(sluice, "express"), await answers(sluice, "snake"), await answers(sluice, "site")],
    before,
  );
});

test("each dyno has its own fresh copy of the slug, and its writes are gone with it", {
  skip: needsRoot,
}, async (t) => {
  const sluice = await startSluice(t);
  const server = `
    const fs = require("node:fs");
    require("node:http").createServer((request, response) => {
      if (request.method === "POST") fs.appendFileSync("/app/notes.txt", process.env.DYNO + ";");
      response.end(JSON.stringify({ dyno: process.env.DYNO, notes: fs.existsSync("/app/notes.txt") ? fs.readFileSync("/app/notes.txt", "utf8") : "" }));
    }).listen(process.env.PORT);`;
  await sluice.deploy("notes", "", {
    "package.json": JSON.stringify({ name: "notes", version: "1.0.0" }),
    Procfile: "web: node index.js\n",
    "index.js": server,
  });
  await sluice.must(["ps:scale", "-a", "notes", "web=2"]);
  const seen = new Map<string, string>();
  await until(async () => {
    const answer = await sluice.get("notes", "/", { method: "POST" });
    if (answer.status === 200) {
      const { dyno, notes } = JSON.parse(answer.body) as { dyno: string; notes: string };
      seen.set(dyno, notes);
    }
    return seen.size === 2;
  }, "both dynos to answer");
  for (const [dyno, notes] of seen) assert.match(notes, new RegExp(`^(${dyno.replace(".", "\\.")};)+$`));
  await sluice.must(["ps:restart", "-a", "notes"]);
  await until(async () => {
    const answer = await sluice.get("notes");
    return answer.status === 200 && (JSON.parse(answer.body) as { notes: string }).notes === "";
  }, "fresh dynos without notes");
});
