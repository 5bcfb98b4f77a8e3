import type pg from "pg";

/** A connection, or a transaction's. */
export type Queryable = Pick<pg.Pool, "query">;

/** The platform's PostgreSQL, and the seal of its secrets. */
export interface Store {
  readonly pool: pg.Pool;
  /** This control's epoch: taken from the store at start, higher than every earlier one. */
  readonly epoch: number;
  /** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Encrypts `text` for one row and column; `bound` is `table.column:row id`. */
  seal(bound: string, text: string): Buffer;
  /** @throws Error when the bytes were not sealed for `bound` by this Sluice's key. */
  unseal(bound: string, sealed: Buffer): string;
  close(): Promise<void>;
}
