import { createHash, timingSafeEqual } from "node:crypto";
import { randomSecret } from "../config/environment.ts";
import type { Actor } from "./releases/releases.ts";
import type { Queryable, Store } from "./store/store.ts";

/** Who sent a request, and what the token may do. */
export interface Caller extends Actor {
  scope: string[];
}

export interface Accounts {
  /** The account that made this Sluice: owner of its apps. */
  readonly owner: Actor;
  /**
   * The caller that an `Authorization` header proves: `Bearer <token>`, or basic with the token as password and
   * any user name. Null when it is missing, unknown or expired.
   */
  authenticate(header: string | undefined): Promise<Caller | null>;
}

export const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest();

/** The token in an `Authorization` header, or null. */
export function tokenOf(header: string | undefined): string | null {
  if (!header) return null;
  const space = header.indexOf(" ");
  const scheme = header.slice(0, space).toLowerCase();
  const rest = header.slice(space + 1).trim();
  if (scheme === "bearer") return rest || null;
  if (scheme !== "basic") return null;
  const pair = Buffer.from(rest, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? null : pair.slice(colon + 1) || null;
}

/**
 * Makes the owner's account when it is not there, and sees to it that `key` is its API key and no earlier one
 * is any more.
 */
export async function openAccounts(store: Store, email: string, key: string): Promise<Accounts> {
  const keyHash = sha256(key);
  const owner = await store.transaction(async (tx) => {
    const account = await ownerAccount(tx, email);
    await tx.query("DELETE FROM authorizations WHERE owner_key AND token_sha256 <> $1", [keyHash]);
    await tx.query(
      `INSERT INTO authorizations (account_id, token_sha256, description, owner_key)
       VALUES ($1, $2, 'API key of this Sluice', true) ON CONFLICT (token_sha256) DO NOTHING`,
      [account.id, keyHash],
    );
    return account;
  });
  return {
    owner,
    async authenticate(header) {
      const token = tokenOf(header);
      if (!token) return null;
      const hash = sha256(token);
      // The owner's key is known without the store, so /metrics and /health answer while it is away.
      if (timingSafeEqual(hash, keyHash)) return { ...owner, scope: ["global"] };
      const { rows } = await store.pool.query<Caller>(
        `SELECT accounts.id, accounts.email, authorizations.scope FROM authorizations
         JOIN accounts ON accounts.id = authorizations.account_id
         WHERE token_sha256 = $1 AND (expires_at IS NULL OR expires_at > now())`,
        [hash],
      );
      return rows[0] ?? null;
    },
  };
}

/** The first account is the owner's; a changed SLUICE_EMAIL renames it. */
async function ownerAccount(tx: Queryable, email: string): Promise<Actor> {
  const found = await tx.query<Actor>(
    "SELECT id, email FROM accounts ORDER BY created_at, id LIMIT 1 FOR UPDATE",
  );
  const first = found.rows[0];
  if (first?.email === email) return first;
  const { rows } = first
    ? await tx.query<Actor>(
        "UPDATE accounts SET email = $2, updated_at = now() WHERE id = $1 RETURNING id, email",
        [first.id, email],
      )
    : await tx.query<Actor>("INSERT INTO accounts (email) VALUES ($1) RETURNING id, email", [email]);
  return rows[0]!;
}

/** A new token: its text is shown once, the store keeps its hash. */
export const newToken = (): { token: string; hash: Buffer } => {
  const token = randomSecret();
  return { token, hash: sha256(token) };
};
