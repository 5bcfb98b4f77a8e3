import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { lookUpUser } from "../../src/config/users.ts";
import { checkout } from "../../src/supervisor/checkout.ts";
import { reachableByAll } from "../../src/supervisor/reach.ts";
import { cloneTo } from "./clone.ts";
import {
  isRoot,
  ownFolder,
  processesWith,
  type Sluice,
  type StartOptions,
  startSluice,
  until,
} from "./sluice.ts";

/** Starts a Sluice as a user without rights: this one, or `nobody` where the tests are root's. */
async function startWithoutRoot(t: TestContext, options: StartOptions = {}): Promise<Sluice> {
  const folder = ownFolder(t);
  if (!isRoot) return startSluice(t, { ...options, folder });
  const as = lookUpUser("nobody");
  assert.ok(as, "Debian has a user nobody");
  chownSync(folder, as.uid, as.gid);
  let clone = checkout;
  if (!reachableByAll(path.join(checkout, "dist"))) {
    clone = path.join(folder, "clone");
    mkdirSync(clone);
    cloneTo(clone);
  }
  return startSluice(t, { ...options, folder, checkout: clone, as });
}

/** Lines of standard error that tell what is missing. */
const missing = (sluice: Sluice): string[] => sluice.stderr.split("\n").filter(Boolean);

const answers = (sluice: Sluice, body: RegExp): Promise<void> =>
  until(
    async () => {
      const answer = await sluice.get("hello");
      return answer.status === 200 && body.test(answer.body);
    },
    `hello to answer ${body}`,
    60_000,
    () => sluice.stderr,
  );

const canMakeNamespaces =
  spawnSync("unshare", ["--user", "--map-root-user", "--mount", "--pid", "--fork", "true"]).status === 0;
const needsNamespaces =
  canMakeNamespaces || process.env.SLUICE_TEST_FULL === "1" ? false : "needs user namespaces";

test("without root: push, restart, scale, one-offs, in namespaces of this user's", {
  skip: needsNamespaces,
}, async (t) => {
  const sluice = await startWithoutRoot(t);
  assert.match(sluice.stderr, /not started as root/);
  assert.match(sluice.stderr, /user namespaces of this user/);
  assert.match(sluice.stderr, /share this machine's network/);
  const told = missing(sluice);
  assert.equal(new Set(told).size, told.length, "each thing that is missing has one line");

  await sluice.deploy("hello", "node-hello");
  await answers(sluice, /^Hello from web\.1/);
  await sluice.must(["ps:scale", "-a", "hello", "web=2"]);
  await answers(sluice, /^Hello from web\.2/);
  await sluice.must(["restart", "-a", "hello"]);
  await answers(sluice, /^Hello from web\.1/);
  await answers(sluice, /^Hello from web\.2/);

  const seen = await sluice.cli(["run", "-a", "hello", "pwd; ls /app; cat; exit 7"], { input: "typed\n" });
  assert.equal(seen.status, 7, seen.stderr);
  assert.match(seen.stdout, /^\/app\r?$/m);
  assert.match(seen.stdout, /^package\.json\r?$/m);
  assert.match(seen.stdout, /^typed\r?$/m);
  const walls = await sluice.must(["run", "-a", "hello", `ls ${sluice.home} 2>&1; ps -e -o args`]);
  assert.match(walls, /cannot access/);
  assert.doesNotMatch(walls, /sluice: /, "another process is seen in a box");

  await sluice.must(["destroy", "hello", "--confirm", "hello"]);
  await until(
    () => leftOn(sluice).length === 0,
    "what the app had on the host to be gone",
    20_000,
    () => leftOn(sluice).join(" "),
  );
  assert.equal(await sluice.stop(), 0);
  assert.deepEqual(processesWith(sluice.folder), []);
});

/** What the host keeps of slugs, caches and boxes. */
function leftOn(sluice: Sluice): string[] {
  return ["slugs", "build-cache", "boxes", "dynos", "trash"].flatMap((name) => {
    const folder = path.join(sluice.home, "host", name);
    const entries = existsSync(folder) ? readdirSync(folder) : [];
    return entries.filter((entry) => !entry.startsWith(".blank")).map((entry) => `${name}/${entry}`);
  });
}

test("without root and without namespaces: it starts, says so, and a push is refused with what to do", {
  skip: needsNamespaces,
}, async (t) => {
  const { uid, gid } = isRoot ? lookUpUser("nobody")! : { uid: process.getuid!(), gid: process.getgid!() };
  // In a namespace of its own the kernel's bound can be set to none for this Sluice alone.
  const none =
    'echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --inh-caps=-all --ambient-caps=-all -- "$@"';
  const map = ["--user", `--map-user=${uid}`, `--map-group=${gid}`, "--keep-caps"];
  const under = ["unshare", ...map, "sh", "-c", none, "sh"];
  const sluice = await startWithoutRoot(t, { under });
  assert.match(sluice.stderr, /neither built nor run: this user may make no namespaces/);
  const repository = await sluice.repository("node-hello");
  await sluice.must(["create", "hello"], { cwd: repository });
  const pushed = await sluice.push(repository);
  assert.notEqual(pushed.status, 0);
  assert.match(pushed.stderr, /remote: .*this user may make no namespaces here; start Sluice as root/);
  assert.equal(await sluice.stop(), 0);
});
