import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import pg from "pg";
import { type Layout, layoutOf } from "../../src/config/layout.ts";
import { lookUpUser } from "../../src/config/users.ts";
import { checkout, startTime } from "../../src/supervisor/checkout.ts";
import { Postgres } from "../../src/supervisor/postgres.ts";
import { findPostgres, type PostgresBinaries } from "../../src/supervisor/postgres-binaries.ts";
import { makeSystemUsers } from "../../src/supervisor/system-users.ts";
import { atEnd } from "../at-end.ts";
import { isRoot, temporaryFolder } from "./folder.ts";

/** Root may not run PostgreSQL, nor be let in by peer authentication: then queries are another user's too. */
const user = isRoot ? makeSystemUsers().sluice : null;

function setUp(t: TestContext): { layout: Layout; binaries: PostgresBinaries; said: string[] } {
  const home = temporaryFolder(t);
  chmodSync(home, 0o755);
  const sockets = path.join(home, "s");
  mkdirSync(sockets, { mode: 0o755 });
  const layout = layoutOf(home, { SLUICE_SOCKETS: sockets });
  return { layout, binaries: findPostgres(undefined, checkout, layout.pg), said: [] };
}

/** Asks the store as the user that it lets in; root does so from a process of that user. */
async function ask(url: string, sql: string): Promise<string> {
  if (!user) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const { rows } = await client.query(sql);
    await client.end();
    return JSON.stringify(rows);
  }
  const script = `
    const pg = require(${JSON.stringify(path.join(checkout, "node_modules/pg"))});
    process.setgid(${user.gid}); process.setuid(${user.uid});
    const client = new pg.Client({ connectionString: ${JSON.stringify(url)} });
    client.connect().then(() => client.query(${JSON.stringify(sql)}))
      .then(({ rows }) => { console.log(JSON.stringify(rows)); return client.end(); })
      .catch((error) => { console.error(error.message); process.exit(1); });`;
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", script], { cwd: "/" });
  return stdout.trim();
}

test("the private store is made, takes only its user, and stops with everything written", async (t) => {
  const { layout, binaries, said } = setUp(t);
  const postgres = new Postgres(binaries, layout, user, (line) => said.push(line));
  atEnd(t, () => postgres.stop());
  await postgres.start();
  assert.equal(
    await ask(postgres.url, "SELECT current_user AS who, current_database() AS db"),
    '[{"who":"sluice","db":"sluice"}]',
  );
  await ask(postgres.url, "CREATE TABLE kept AS SELECT 42 AS n");
  assert.match(readFileSync(path.join(layout.pg, "pg_hba.conf"), "utf8"), /^local all all peer map=sluice$/m);
  await postgres.stop();
  const again = new Postgres(binaries, layout, user, (line) => said.push(line));
  atEnd(t, () => again.stop());
  await again.start();
  assert.equal(await ask(again.url, "SELECT n FROM kept"), '[{"n":42}]');
  await again.stop();
  assert.deepEqual(said, []);
});

test("a killed store is started again by itself and holds what was committed", async (t) => {
  const { layout, binaries } = setUp(t);
  let died: () => void = () => {};
  const told = new Promise<void>((resolve) => {
    died = resolve;
  });
  const postgres = new Postgres(binaries, layout, user, died);
  atEnd(t, () => postgres.stop());
  await postgres.start();
  await ask(postgres.url, "CREATE TABLE kept AS SELECT 1 AS n");
  process.kill(postmaster(layout), "SIGKILL");
  await told;
  for (;;) {
    try {
      assert.equal(await ask(postgres.url, "SELECT n FROM kept"), '[{"n":1}]');
      break;
    } catch (error) {
      assert.match((error as Error).message, /ECONNREFUSED|ENOENT|starting up|recovery|not yet accepting/);
    }
  }
});

test("a store that a killed supervisor left behind is stopped, and a new one started", async (t) => {
  const { layout, binaries, said } = setUp(t);
  const first = new Postgres(binaries, layout, user, () => {});
  await first.start();
  await first.stop();
  const orphan = spawn(
    path.join(binaries.bin, "postgres"),
    ["-D", layout.pg, "-c", `unix_socket_directories=${path.join(layout.sockets, "pg")}`],
    {
      ...user,
      cwd: "/",
      detached: true,
      stdio: "ignore",
    },
  );
  const pid = orphan.pid as number;
  // The file is there before its first line is.
  while (!existsSync(path.join(layout.pg, "postmaster.pid")) || postmaster(layout) !== pid)
    await new Promise((later) => setTimeout(later, 5));
  const next = new Postgres(binaries, layout, user, (line) => said.push(line));
  atEnd(t, () => next.stop());
  await next.start();
  assert.equal(startTime(pid), null);
  assert.match(said[0] ?? "", /the store of an earlier start still runs/);
  assert.equal(await ask(next.url, "SELECT 1 AS n"), '[{"n":1}]');
});

test("a store of another major version is refused in one sentence, and an operator's folder without one", (t) => {
  const { layout } = setUp(t);
  mkdirSync(layout.pg);
  writeFileSync(path.join(layout.pg, "PG_VERSION"), "9\n");
  assert.throws(
    () => findPostgres(undefined, checkout, layout.pg),
    /needs PostgreSQL 9, and only PostgreSQL .* set SLUICE_PG_BIN/,
  );
  assert.throws(
    () => findPostgres("/nowhere", checkout, layout.pg),
    /SLUICE_PG_BIN \(\/nowhere\) holds no postgres that runs here/,
  );
});

const postmaster = (layout: Layout): number =>
  Number(readFileSync(path.join(layout.pg, "postmaster.pid"), "utf8").split("\n")[0]);

test("system users are there once made", { skip: isRoot ? false : "needs root" }, () => {
  for (const name of ["sluice", "sluice-edge", "sluice-logplex"]) assert.notEqual(lookUpUser(name), null);
});
