import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type pg from "pg";

export interface Migration {
  number: number;
  name: string;
  sql: string;
}

/** Any number of our own: names Sluice's lock among those of the database. */
const LOCK = 5_105_444;

/**
 * The migrations that this Sluice knows, `NNNN-name.sql`, in order. They stay in the source folder (tsc copies
 * only code), so dist/ looks there.
 */
export function readMigrations(): Migration[] {
  const here = path.join(import.meta.dirname, "migrations");
  const folder = existsSync(here)
    ? here
    : path.resolve(import.meta.dirname, "../../../../src/control/store/migrations");
  return readdirSync(folder)
    .filter((file) => /^\d{4}-.+\.sql$/.test(file))
    .sort()
    .map((file, index) => {
      const number = Number(file.slice(0, 4));
      if (number !== index + 1)
        throw new Error(`Migration ${file} is out of order; ${index + 1} is missing.`);
      return { number, name: file.slice(5, -4), sql: readFileSync(path.join(folder, file), "utf8") };
    });
}

/**
 * Brings the database up to the last migration: each in a transaction of its own, all under an advisory lock,
 * so that two controls starting together do it once.
 * @throws Error with one sentence when the database was written by a newer Sluice.
 */
export async function migrate(client: pg.ClientBase, migrations: readonly Migration[]): Promise<void> {
  await client.query("SELECT pg_advisory_lock($1)", [LOCK]);
  try {
    await client.query(`CREATE TABLE IF NOT EXISTS migrations (
      number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
    const { rows } = await client.query<{ last: number | null }>(
      "SELECT max(number) AS last FROM migrations",
    );
    const done = rows[0]?.last ?? 0;
    if (done > migrations.length) {
      throw new Error(
        `This database was written by a newer Sluice (migration ${done}; this one knows ${migrations.length}): start that version, or give another SLUICE_HOME or DATABASE_URL.`,
      );
    }
    for (const { number, name, sql } of migrations.slice(done)) {
      await client.query("BEGIN");
      try {
        await client.query(sql);
        await client.query("INSERT INTO migrations (number, name) VALUES ($1, $2)", [number, name]);
        await client.query("COMMIT");
      } catch (error) {
        await client.query("ROLLBACK").catch(() => {});
        throw error;
      }
    }
  } finally {
    await client.query("SELECT pg_advisory_unlock($1)", [LOCK]).catch(() => {});
  }
}
