import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { git, KEY, Yard } from "./yard.ts";

const full = process.env.SLUICE_TEST_FULL === "1";
const skip = process.getuid?.() !== 0 && !full ? "boxes with folders of their own need root" : false;

/** A third-party style buildpack that shows what it is given; committed without exec bits. */
const PROBE = {
  "bin/detect":
    '#!/usr/bin/env bash\n[ -n "$SOURCE_VERSION" ] || exit 2\n[ -f "$1/probe" ] && echo Probe || exit 1\n',
  "bin/compile": `#!/usr/bin/env bash
set -eu
echo "-----> Probing"
env | sort | sed 's/^/       env: /'
echo "       args: $# $1 $2 $3"
echo "       cwd: $(pwd)"
echo "       app: $(ls -A /app | wc -l) $(touch /app/x && echo writable)"
echo "       secret: $(cat "$3/SECRET")"
echo "       cached: $(cat "$2/mark" 2>/dev/null || echo nothing)"
mkdir -p "$2"; date +%s%N >"$2/mark"
echo "       apt: $(test -e /etc/apt/sources.list && echo there)"
echo "       whoami: $(id -u)"
(sleep 300 &)
echo built >"$1/built.txt"
mkdir -p "$1/.profile.d"; echo 'export PROBED=1' >"$1/.profile.d/probe.sh"
if [ -f "$1/fail" ]; then echo "this app cannot be built" >&2; exit 3; fi
echo 'declare -x FROM_FIRST="one two"; export PATH="/first/bin:$PATH"' >export
`,
  "bin/release":
    '#!/usr/bin/env bash\ncat <<YAML\n---\nconfig_vars:\n  GIVEN: "by probe"\ndefault_process_types:\n  web: ./run $PORT\n  extra: "sleep 1"\nYAML\n',
};
/** One that comes second: replaces the whole tree, and prints no release. */
const SECOND = {
  "bin/detect": "#!/usr/bin/env bash\necho Second\n",
  "bin/compile": `#!/usr/bin/env bash
echo "       first: $FROM_FIRST"
echo "       path: $PATH"
stage=$(mktemp -d)
mv "$1" "$stage/tree" && mv "$stage/tree" "$1"
printf '\\nworker: ./work\\n' >>"$1/Procfile"
`,
};

function folderOf(files: Record<string, string>, at: string): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.join(at, path.dirname(name)), { recursive: true });
    writeFileSync(path.join(at, name), text, { mode: 0o644 });
  }
  return at;
}

describe("a push", { skip }, () => {
  let yard: Yard;
  let packs: string;
  let probe: string;
  let second: string;

  before(async () => {
    packs = mkdtempSync(path.join(os.tmpdir(), "sluice-packs-"));
    probe = folderOf(PROBE, path.join(packs, "probe"));
    second = folderOf(SECOND, path.join(packs, "second"));
    yard = await Yard.open({ SLUICE_BUILDPACK_PATH: packs });
  });
  after(async () => {
    await yard.close();
    rmSync(packs, { recursive: true, force: true });
  });

  it("runs buildpacks as Heroku does, and makes slug, build and release at once", async () => {
    await yard.app("probe", { SECRET: "hush=1" });
    await yard.buildpacks("probe", probe, second);
    const repo = yard.repository({
      probe: "",
      Procfile: "# types\nweb: ./serve # not a comment",
      "run.sh*": "echo",
    });
    const commit = git(repo, "rev-parse", "HEAD").trim();
    const { ok, output } = await yard.push(repo, "probe");
    assert.ok(ok, output);
    const lines = output.split("\n");
    const order = [
      "Compressing source files... done.",
      "Building source:",
      "-----> Building on the Heroku-2",
      "-----> Using buildpacks:",
      `       1. ${probe}`,
      "-----> Probe app detected",
      "-----> Second app detected",
      "-----> Discovering process types",
      "       Procfile declares types -> web, worker",
      "-----> Compressing...",
      "-----> Launching...",
      "       Released v4",
      "Verifying deploy... done.",
    ].map((line) => lines.findIndex((each) => each.startsWith(line.replace("22", ""))));
    const found = order.filter((at) => at >= 0);
    assert.ok(found.length >= order.length - 1, output);
    assert.deepEqual(
      [...found].sort((a, b) => a - b),
      found,
      output,
    );

    const env = lines
      .flatMap((line) => /^ +env: (\w+)=/.exec(line)?.[1] ?? [])
      .filter((name) => !/^(npm_|PIP_|NODE_EXTRA)/i.test(name));
    const known = [
      "BUILDPACK_LOG_FILE",
      "DYNO",
      "HOME",
      "OLDPWD",
      "PATH",
      "PWD",
      "REQUEST_ID",
      "SHLVL",
      "SOURCE_VERSION",
      "STACK",
      "_",
    ];
    assert.deepEqual(
      env,
      known.filter((name) => env.includes(name)),
    );
    for (const name of ["DYNO", "HOME", "PATH", "REQUEST_ID", "SOURCE_VERSION", "STACK"])
      assert.ok(env.includes(name), name);
    assert.match(output, / env: HOME=\/app\n/);
    assert.match(output, new RegExp(` env: SOURCE_VERSION=${commit}\n`));
    assert.match(output, / env: STACK=heroku-2[24]\n/);
    assert.match(
      output,
      / args: 3 \/tmp\/build_[0-9a-f]{8} \/tmp\/codon\/tmp\/cache \/tmp\/env_[0-9a-f]{8}\n/,
    );
    assert.match(output, / cwd: \/tmp\/codon\/tmp\/buildpacks\/[0-9a-f]+\n/);
    assert.match(output, / app: 0 writable\n/);
    assert.match(output, / secret: hush=1\n/);
    assert.match(output, / cached: nothing\n/);
    assert.match(output, / apt: there\n/);
    assert.match(output, / whoami: 20\d{4}\n/);
    assert.match(output, / first: one two\n/);
    assert.match(output, / path: \/first\/bin:/);

    const { body: builds } = await yard.api<Record<string, never>[]>("GET", "/apps/probe/builds");
    const [build] = builds as unknown as { status: string; slug: { id: string }; release: { id: string } }[];
    assert.equal(build!.status, "succeeded");
    assert.ok(build!.release.id);
    const { body: slug } = await yard.api<{ process_types: unknown; blob: { url: string }; commit: string }>(
      "GET",
      `/apps/probe/slugs/${build!.slug.id}`,
    );
    // Of the last buildpack only, which has none; the Procfile as it was after it.
    assert.deepEqual(slug.process_types, { web: "./serve # not a comment", worker: "./work" });
    assert.equal(slug.commit, commit);
    const archive = Buffer.from(await (await fetch(slug.blob.url)).arrayBuffer());
    const listing = execFileSync("tar", ["-tvzf", "-"], { input: archive, encoding: "utf8" });
    assert.match(listing, /0\/0 .* 2024-05-01 .* \.\/app\/built\.txt\n/);
    assert.match(listing, /-rwxr-xr-x .* \.\/app\/run\.sh\n/);
    assert.match(listing, /\.\/app\/\.profile\.d\/probe\.sh\n/);
    assert.doesNotMatch(listing, /\.git\//);
  });

  it("keeps the cache of a good build and drops a failed one's", async () => {
    await yard.app("cache", { SECRET: "s" });
    await yard.buildpacks("cache", probe);
    const repo = yard.repository({ probe: "" });
    const cached = async (): Promise<string> =>
      /cached: (.+)/.exec((await yard.push(repo, "cache")).output)![1]!;
    assert.equal(await cached(), "nothing");
    yard.commit(repo, { a: "1" });
    assert.match(await cached(), /^\d+$/);
    yard.commit(repo, { fail: "" });
    await cached();
    rmSync(path.join(repo, "fail"));
    yard.commit(repo, {});
    assert.equal(await cached(), "nothing");
    yard.commit(repo, { a: "2" });
    await yard.api("DELETE", "/apps/cache/build-cache");
    assert.equal(await cached(), "nothing");
  });

  it("rejects a failing build with Heroku's words, and says why", async () => {
    await yard.app("fails", { SECRET: "s" });
    await yard.buildpacks("fails", probe);
    const repo = yard.repository({ probe: "", fail: "" });
    const { ok, output } = await yard.push(repo, "fails");
    assert.ok(!ok);
    assert.match(
      output,
      /this app cannot be built\n ! {5}Push rejected, failed to compile Probe app\.\n\n ! {5}Push failed\n/,
    );
    assert.match(output, /Verifying deploy\.\.\.\n\n!\tPush rejected to fails\.\n/);
    assert.match(output, /\[remote rejected\] main -> main \(pre-receive hook declined\)/);
    assert.equal(git(repo, "ls-remote", `http://x:${KEY}@127.0.0.1:${yard.port}/fails.git`), "");
    const again = await yard.push(repo, "fails");
    assert.match(again.output, /The same version of this code has already been built: [0-9a-f]{40}/);
  });

  it("names the faulty line of a Procfile, the buildpack that does not fit, and what is missing", async () => {
    await yard.app("words");
    const repo = yard.repository({ Procfile: "web: ./a\nworker ./b\n" });
    assert.match(
      (await yard.push(repo, "words")).output,
      /No default language could be detected for this app\./,
    );
    await yard.buildpacks("words", second);
    // The second buildpack adds a line of its own, behind the faulty one.
    assert.match(
      (await yard.push(repo, "words")).output,
      /Line 2 of the Procfile, "worker \.\/b", is not of the form/,
    );
    await yard.buildpacks("words", probe);
    const { output } = await yard.push(repo, "words");
    assert.match(output, /-----> App not compatible with buildpack: .*probe\n/);
    const { body } = await yard.buildpacks("words", "/etc");
    assert.match((body as { message: string }).message, /SLUICE_BUILDPACK_PATH/);
  });

  it("deploys main and master only, and follows deletions and renames", async () => {
    await yard.app("branches");
    await yard.buildpacks("branches", second);
    const repo = yard.repository({ "a.txt": "a" });
    const other = await yard.push(repo, "branches", "main:refs/heads/topic");
    assert.ok(other.ok);
    assert.match(other.output, /Pushed to non-main branch topic, skipping build\./);
    const deploy = await yard.push(repo, "branches", "main:master");
    assert.ok(deploy.ok, deploy.output);
    await yard.api("PATCH", "/apps/branches", { name: "renamed" });
    const clone = path.join(repo, "clone");
    git(repo, "clone", "-q", `http://x:${KEY}@127.0.0.1:${yard.port}/renamed.git`, clone);
    assert.ok(readdirSync(clone).includes("a.txt"));
    assert.ok((await yard.push(repo, "renamed", ":topic")).ok);
    assert.match((await yard.push(repo, "nobody")).output, /not found|404/);
    const refused = await fetch(`${yard.url}/renamed.git/info/refs?service=git-upload-pack`);
    assert.equal(refused.status, 401);
    assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic/);
    const wrong = await fetch(`${yard.url}/renamed.git/info/refs?service=git-receive-pack`, {
      headers: { Authorization: `Basic ${Buffer.from("x:wrong").toString("base64")}` },
    });
    assert.equal(wrong.status, 401);
  });

  it("fetches a buildpack by git URL and branch, behind the egress rule", async () => {
    await yard.app("packs");
    const pack = yard.repository({ ...SECOND, "bin/release": "#!/bin/sh\necho '--- {}'\n" });
    await yard.push(pack, "packs", "main:refs/heads/v1");
    await yard.app("user");
    await yard.buildpacks("user", `http://x:${KEY}@127.0.0.1:${yard.port}/packs.git#v1`);
    const repo = yard.repository({ "a.txt": "a" });
    const { ok, output } = await yard.push(repo, "user");
    assert.ok(ok, output);
    assert.match(
      output,
      /-----> Using buildpack: http:\/\/127\.0\.0\.1:\d+\/packs\.git#v1\n-----> Second app detected/,
    );
    assert.ok(!output.includes(KEY));
    await yard.buildpacks("user", `http://127.0.0.1:${yard.port}/none.git`);
    yard.commit(repo, { b: "b" });
    const refused = await yard.push(repo, "user");
    assert.ok(!refused.ok);
    assert.match(refused.output, /could not be fetched: /);
  });

  it("applies .slugignore before the buildpack", async () => {
    await yard.app("ignore", { SECRET: "s" });
    const lister = folderOf(
      {
        "bin/detect": "#!/bin/sh\necho List\n",
        "bin/compile": '#!/bin/sh\ncd "$1" && find . -type f | sort\n',
      },
      path.join(packs, "list"),
    );
    await yard.buildpacks("ignore", lister);
    const repo = yard.repository({
      ".slugignore": "# no\n*.psd\n/test/\ndocs\n!kept.psd\n",
      "a.psd": "",
      "deep/b.psd": "",
      "test/x": "",
      "deep/test/x": "",
      "deep/docs/y": "",
      kept: "",
    });
    const { output } = await yard.push(repo, "ignore");
    const files = output.split("\n").filter((line) => line.startsWith("./"));
    assert.deepEqual(files, ["./.slugignore", "./deep/test/x", "./kept"], output);
  });

  it("goes on when its pusher goes away", async () => {
    const slow = folderOf(
      {
        "bin/detect": "#!/bin/sh\necho Slow\n",
        "bin/compile": "#!/bin/sh\necho started\nwhile ! [ -e /tmp/go ]; do sleep 0.02; done\n",
      },
      path.join(packs, "slow"),
    );
    await yard.app("slow");
    await yard.buildpacks("slow", slow);
    const repo = yard.repository({ "a.txt": "a" });
    const { child, done } = yard.pushing(repo, "slow");
    await new Promise<void>((resolve) =>
      child.stderr!.on("data", (chunk: Buffer) => String(chunk).includes("started") && resolve()),
    );
    // A second push waits for the first, and says so.
    yard.commit(repo, { "b.txt": "b" });
    process.kill(-child.pid!, "SIGKILL");
    await done;
    const second = yard.pushing(repo, "slow");
    await new Promise<void>((resolve) =>
      second.child.stderr!.on("data", (chunk: Buffer) => String(chunk).includes("under way") && resolve()),
    );
    const go = (): void => {
      for (const name of readdirSync(path.join(yard.home, "host/slugs"))) {
        if (name.startsWith(".work-")) writeFileSync(path.join(yard.home, "host/slugs", name, "tmp/go"), "");
      }
    };
    go();
    second.child.stderr!.on("data", (chunk: Buffer) => String(chunk).includes("started") && go());
    const next = await second.done;
    assert.match(next.output, /Another build of this app is under way/);
    const { body } = await yard.api<{ status: string }[]>("GET", "/apps/slow/builds");
    assert.deepEqual(
      body.map(({ status }) => status),
      ["succeeded", "succeeded"],
      next.output,
    );
  });

  it("ends a cancelled build, and one that a killed control left", async () => {
    const endless = folderOf(
      {
        "bin/detect": "#!/bin/sh\necho Endless\n",
        "bin/compile": "#!/bin/sh\necho started\nexec sleep 600\n",
      },
      path.join(packs, "endless"),
    );
    await yard.app("endless");
    await yard.buildpacks("endless", endless);
    const repo = yard.repository({ "a.txt": "a" });
    const start = async (): Promise<{ done: Promise<{ ok: boolean; output: string }>; id: string }> => {
      const { child, done } = yard.pushing(repo, "endless");
      await new Promise<void>((resolve) =>
        child.stderr!.on("data", (chunk: Buffer) => String(chunk).includes("started") && resolve()),
      );
      const { body } = await yard.api<{ id: string; status: string }[]>("GET", "/apps/endless/builds");
      return { done, id: body.find(({ status }) => status === "pending")!.id };
    };
    const first = await start();
    assert.equal((await yard.api("DELETE", `/apps/endless/builds/${first.id}`)).status, 202);
    const canceled = await first.done;
    assert.ok(!canceled.ok);
    assert.match(canceled.output, /The build was canceled\./);

    const killed = await start();
    await yard.killControl();
    assert.ok(!(await killed.done).ok);
    await yard.startControl();
    const { body } = await yard.api<{ status: string; output_stream_url: string }>(
      "GET",
      `/apps/endless/builds/${killed.id}`,
    );
    assert.equal(body.status, "failed");
    const output = await (await fetch(body.output_stream_url)).text();
    assert.match(output, /started\n[\s\S]*Sluice was stopped while this build was under way/);
    // The host has ended its box, and nothing of either build is left.
    while (yard.host!.builds.builds().length || yard.host!.boxes.list().length) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const left = readdirSync(path.join(yard.home, "control/builds")).filter((name) => !name.endsWith(".log"));
    assert.deepEqual(left, []);
  });
});
