import pg from "pg";
import { type Migration, migrate, readMigrations } from "./migrate.ts";
import { Seal } from "./secrets.ts";
import type { Queryable, Store } from "./store.ts";

/** Connections to the store; PostgreSQL takes 100 by default, and control's work is short. */
const CONNECTIONS = 12;
/** A store that does not take a connection in this time is down for the request that asked. */
const CONNECT_MS = 3000;
/** No statement of control's takes longer; a store that hangs must not hang its callers. */
const STATEMENT_MS = 20_000;

/** Large counters fit a double: `bigint` columns are read as numbers. */
const parsers: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === pg.types.builtins.INT8
      ? Number
      : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

export interface StoreOptions {
  /** `postgresql://…`; `?host=/folder` for a Unix socket. */
  url: string;
  /** readSecret's. */
  secret: string;
  /** Read ahead (readMigrations) where the checkout cannot be read any more. */
  migrations?: readonly Migration[];
}

/** SQLSTATE classes and codes that say the server is going, gone or not yet there. */
const DOWN_STATES = /^(08|57P0[123]|53300)/;
const DOWN_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
const DOWN_WORDS =
  /Connection terminated|connection timeout|timeout exceeded when trying to connect|Query read timeout|not queryable|Client was closed/i;

/** True when an error of a query means that the store is away, so the same request may succeed later. */
export function isStoreDown(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code && DOWN_STATES.test(code) && error instanceof pg.DatabaseError) return true;
  if (
    code &&
    DOWN_CODES.has(code) &&
    (syscall === undefined || /connect|read|write|getaddrinfo/.test(syscall))
  )
    return true;
  return DOWN_WORDS.test(error.message);
}

/** True when a statement broke the unique constraint or index `name`. */
export const isDuplicate = (error: unknown, name: string): boolean =>
  error instanceof pg.DatabaseError && error.code === "23505" && error.constraint === name;

/** SQLSTATE of an error that the store answered with; null for any other error. */
export const sqlState = (error: unknown): string | null =>
  error instanceof pg.DatabaseError ? (error.code ?? null) : null;

/**
 * Connects, migrates, and takes this start's epoch. The pool makes new connections by itself when the store
 * comes back after a crash.
 * @throws Error when the store cannot be reached or was written by a newer Sluice.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: STATEMENT_MS,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    application_name: "sluice control",
    types: parsers,
  });
  // A connection that breaks, idle or not, must only fail the query that uses it.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  let epoch: number;
  try {
    const client = await pool.connect();
    try {
      await migrate(client, options.migrations ?? readMigrations());
      const { rows } = await client.query<{ epoch: number }>("SELECT nextval('epochs') AS epoch");
      epoch = rows[0]!.epoch;
    } finally {
      client.release();
    }
  } catch (error) {
    await pool.end();
    throw error;
  }
  const seal = new Seal(options.secret);
  return {
    pool,
    epoch,
    transaction: (work) => transaction(pool, work),
    seal: (bound, text) => seal.seal(bound, text),
    unseal: (bound, sealed) => seal.unseal(bound, sealed),
    close: () => pool.end(),
  };
}

async function transaction<T>(pool: pg.Pool, work: (tx: Queryable) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query("BEGIN");
    const result = await work(client);
    const { command } = await client.query("COMMIT");
    // A statement failed and `work` went on: PostgreSQL answers COMMIT by rolling back, and says only this.
    if (command !== "COMMIT")
      throw new Error("The transaction was rolled back: one of its statements had failed.");
    return result;
  } catch (error) {
    // A connection that broke, or hangs in a statement, is closed; that rolls back too.
    if (isStoreDown(error)) broken = error as Error;
    else {
      await client.query("ROLLBACK").catch((rollbackError: Error) => {
        broken = rollbackError;
      });
    }
    throw error;
  } finally {
    client.release(broken);
  }
}
