import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { readMigrations } from "../../../src/control/store/migrate.ts";
import { isStoreDown, openStore } from "../../../src/control/store/postgres.ts";
import { readSecret, Seal } from "../../../src/control/store/secrets.ts";
import { debianPostgres, type PostgresOptions, startPostgres, type TestPostgres } from "../../postgres.ts";

const SECRET = "a secret of the tests";

/** Everything that the store promises, on one kind of server. */
function promises(options: PostgresOptions): void {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await startPostgres(options);
  });
  after(() => postgres.stop());

  it("migrates once, also when two start together, and counts its epochs up", async () => {
    const url = await postgres.database("twice");
    const [one, two] = await Promise.all([
      openStore({ url, secret: SECRET }),
      openStore({ url, secret: SECRET }),
    ]);
    const third = await openStore({ url, secret: SECRET });
    const { rows } = await third.pool.query("SELECT number FROM migrations ORDER BY number");
    assert.deepEqual(
      rows.map((row) => row.number),
      readMigrations().map((migration) => migration.number),
    );
    assert.deepEqual([one.epoch, two.epoch].sort(), [1, 2]);
    assert.equal(third.epoch, 3);
    await Promise.all([one.close(), two.close(), third.close()]);
  });

  it("refuses a database of a newer version with one sentence", async () => {
    const url = await postgres.database("newer");
    const store = await openStore({ url, secret: SECRET });
    await store.pool.query("INSERT INTO migrations (number, name) VALUES (9000, 'from-the-future')");
    await store.close();
    await assert.rejects(openStore({ url, secret: SECRET }), /written by a newer Sluice \(migration 9000/);
  });

  it("leaves no half of a migration that fails", async () => {
    const url = await postgres.database("broken");
    const migrations = [
      ...readMigrations(),
      { number: readMigrations().length + 1, name: "broken", sql: "CREATE TABLE half (x int); SELECT 1/0;" },
    ];
    await assert.rejects(openStore({ url, secret: SECRET, migrations }), /division by zero/);
    const store = await openStore({ url, secret: SECRET });
    const { rows } = await store.pool.query("SELECT to_regclass('half') AS half");
    assert.equal(rows[0].half, null);
    await store.close();
  });

  it("rolls a transaction back when its work throws", async () => {
    const store = await openStore({ url: await postgres.database("rollback"), secret: SECRET });
    await assert.rejects(
      store.transaction(async (tx) => {
        await tx.query("INSERT INTO accounts (email) VALUES ('a@example.com')");
        throw new Error("no");
      }),
      /^Error: no$/,
    );
    const { rows } = await store.pool.query("SELECT count(*) AS n FROM accounts");
    assert.equal(rows[0].n, 0);
    await store.close();
  });

  it("does not take a transaction for done in which a statement failed unheeded", async () => {
    const store = await openStore({ url: await postgres.database("unheeded"), secret: SECRET });
    await assert.rejects(
      store.transaction(async (tx) => {
        await tx.query("INSERT INTO accounts (email) VALUES ('b@example.com')");
        await tx.query("SELECT 1/0").catch(() => {});
      }),
      /rolled back/,
    );
    const { rows } = await store.pool.query("SELECT count(*) AS n FROM accounts");
    assert.equal(rows[0].n, 0);
    await store.close();
  });

  it("is down while the server is killed, keeps what was committed, and works again by itself", async () => {
    const store = await openStore({ url: postgres.url, secret: SECRET });
    await store.pool.query("INSERT INTO accounts (email) VALUES ('kept@example.com')");
    const cut = store.transaction(async (tx) => {
      await tx.query("INSERT INTO accounts (email) VALUES ('cut@example.com')");
      await postgres.kill();
      await tx.query("SELECT 1");
    });
    await assert.rejects(cut, (error) => isStoreDown(error));
    await assert.rejects(store.pool.query("SELECT 1"), (error) => isStoreDown(error));
    await postgres.start();
    const { rows } = await store.pool.query("SELECT email FROM accounts");
    assert.deepEqual(rows, [{ email: "kept@example.com" }]);
    await store.close();
  });
}

describe("store, on the private server", () => promises({}));

const debian = debianPostgres();
const skip =
  debian || process.env.SLUICE_TEST_FULL === "1" ? false : "Debian's package postgresql is not installed";
describe("store, on Debian's server over TCP", { skip }, () => {
  promises({ bin: debian ?? undefined, tcp: true });
  it("runs that server", () => assert.ok(debian, "install Debian's package postgresql"));
});

describe("seal", () => {
  it("opens only what was sealed for that row and column by that key", () => {
    const seal = new Seal(SECRET);
    const sealed = seal.seal("apps.config:1", "KEY=väl🔑");
    assert.equal(seal.unseal("apps.config:1", sealed), "KEY=väl🔑");
    assert.ok(!sealed.includes("KEY"));
    assert.notDeepEqual(seal.seal("apps.config:1", "x"), seal.seal("apps.config:1", "x"));
    assert.throws(() => seal.unseal("apps.config:2", sealed));
    assert.throws(() => seal.unseal("releases.config:1", sealed));
    assert.throws(() => new Seal(`${SECRET}!`).unseal("apps.config:1", sealed), /another key/);
    sealed[sealed.length - 1]! ^= 1;
    assert.throws(() => seal.unseal("apps.config:1", sealed));
  });

  it("keeps its secret in a file that only its owner reads, unless the environment gives one", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "sluice-seal-"));
    try {
      const file = path.join(folder, "secret-key");
      assert.equal(readSecret({ SLUICE_SECRET_KEY: "0123456789abcdef" }, file), "0123456789abcdef");
      assert.ok(!existsSync(file));
      assert.throws(() => readSecret({ SLUICE_SECRET_KEY: "short" }, file), /at least 16/);
      const made = readSecret({}, file);
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.equal(readSecret({}, file), made);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
