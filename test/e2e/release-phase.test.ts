import assert from "node:assert/strict";
import { test } from "node:test";
import { needsRoot, startSluice, until } from "./sluice.ts";

/** What git shows, without its prefix and the spaces by which it wipes a line. */
const shown = (stderr: string): string =>
  stderr
    .split("\n")
    .map((line) => line.replace(/^remote: ?/, "").replace(/\s+$/, ""))
    .join("\n");

test("a release command runs before the release, and one that fails leaves the old one serving", {
  skip: needsRoot,
}, async (t) => {
  const sluice = await startSluice(t);
  const repository = await sluice.repository("", { "index.html": "one" });
  await sluice.must(["create", "phased"], { cwd: repository });
  await sluice.must(["config:set", "-a", "phased", "WORD=from config"]);
  const first = await sluice.push(repository);
  assert.equal(first.status, 0, first.stderr);
  await until(async () => (await sluice.get("phased")).body === "one", "the first release");
  const types = (await sluice.call("GET", "/apps/phased/formation")).body as {
    command: string;
    type: string;
  }[];
  const web = types.find(({ type }) => type === "web")!.command;

  await sluice.commit(repository, "Good", {
    "index.html": "two",
    Procfile: `web: ${web}\nrelease: echo "migrates $WORD as $DYNO"; echo "and ends" >&2`,
  });
  const good = await sluice.push(repository);
  assert.equal(good.status, 0, good.stderr);
  assert.match(
    shown(good.stderr),
    / ! {5}Release command declared: this new release will not be available until the command succeeds\.\n {7}Released v\d+\n {7}\S+ deployed to Sluice\n\nVerifying deploy\.\.\. done\.\nRunning release command\.\.\.\n\n(migrates from config as release\.\d+\nand ends|and ends\nmigrates from config as release\.\d+)\nWaiting for release\.\.\.\. done\.\n/,
  );
  await until(async () => (await sluice.get("phased")).body === "two", "the second release");

  await sluice.commit(repository, "Bad", {
    "index.html": "three",
    Procfile: `web: ${web}\nrelease: echo "cannot migrate"; exit 3\n`,
  });
  const bad = await sluice.push(repository);
  // Heroku lets the push through: git's ref is what was pushed.
  assert.equal(bad.status, 0, bad.stderr);
  assert.match(
    shown(bad.stderr),
    /Running release command\.\.\.\n\ncannot migrate\nWaiting for release\.\.\.\. failed\.\n/,
  );
  assert.equal((await sluice.get("phased")).body, "two");
  const releases = (await sluice.call("GET", "/apps/phased/releases")).body as {
    version: number;
    status: string;
    current: boolean;
  }[];
  releases.sort((a, b) => b.version - a.version);
  assert.deepEqual([releases[0]!.status, releases[0]!.current], ["failed", false]);
  assert.ok(releases[1]!.current);
  // A change after it stands on what serves, not on what failed.
  await sluice.must(["ps:restart", "-a", "phased"]);
  await until(async () => (await sluice.get("phased")).body === "two", "the old release after a restart");

  // What was printed is there to be read again, as the log's hint says.
  await sluice.commit(repository, "Broken", { Procfile: "web ./a\n" });
  assert.notEqual((await sluice.push(repository)).status, 0);
  let hint: RegExpExecArray | null = null;
  await until(async () => {
    hint = /Build failed -- check your build output: sluice (builds:output [0-9a-f-]{36})/.exec(
      await sluice.must(["logs", "-a", "phased", "-n", "200"]),
    );
    return hint !== null;
  }, "the hint in the log");
  assert.match(
    await sluice.must([...hint![1]!.split(" "), "-a", "phased"]),
    /Line 1 of the Procfile, "web \.\/a", is not of the form/,
  );
  assert.equal((await sluice.get("phased")).body, "two");
});
