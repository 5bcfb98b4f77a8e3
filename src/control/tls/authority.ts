import { readFileSync, writeFileSync } from "node:fs";
import type { Queryable, Store } from "../store/store.ts";
import type { Certified } from "./certificate.ts";

const AUTHORITY_DAYS = 3650;
const LEAF_DAYS = 365;
/** A certificate is made anew when it has less than this left. */
const RENEW_BEFORE_MS = 30 * 86_400_000;

/** This Sluice's private certificate authority: made at first start, its key sealed in the store. */
export interface Authority {
  /** PEM of the authority's own certificate. */
  readonly certificate: string;
  /**
   * The certificate kept under `name`; made anew when it is not for these hosts, not by this authority, or
   * about to expire.
   */
  certify(name: string, hosts: string[]): Promise<Certified>;
  /** Forgets the certificate under `name`. */
  discard(name: string): Promise<void>;
}

/** Loaded when it is first needed: most starts issue nothing, and the library takes a tenth of a second. */
const issuing = () => import("./certificate.ts");

const stale = (expires: Date): boolean => expires.getTime() - Date.now() < RENEW_BEFORE_MS;

/** Opens the authority, and writes its certificate to `caFile`, which everyone may read. */
export async function openAuthority(store: Store, caFile: string): Promise<Authority> {
  const authority = await store.transaction(async (tx) => {
    // Two controls at first start must not make two authorities.
    await tx.query("LOCK TABLE certificates IN SHARE ROW EXCLUSIVE MODE");
    const kept = await read(store, tx, "authority");
    if (kept && !stale(kept.expires)) return kept;
    const { makeAuthority } = await issuing();
    const made = await makeAuthority("Sluice private CA", AUTHORITY_DAYS);
    await keep(store, tx, "authority", [], made);
    return made;
  });
  publish(caFile, authority.certificate);
  return {
    certificate: authority.certificate,
    async certify(name, hosts) {
      const kept = await read(store, store.pool, name);
      if (kept && !stale(kept.expires) && kept.issuer === authority.certificate && same(kept.hosts, hosts)) {
        return kept;
      }
      const { issueLeaf } = await issuing();
      const made = await issueLeaf(authority, hosts, LEAF_DAYS);
      await store.transaction((tx) => keep(store, tx, name, hosts, made, authority.certificate));
      return made;
    },
    async discard(name) {
      await store.pool.query("DELETE FROM certificates WHERE name = $1", [name]);
    },
  };
}

const same = (a: string[], b: string[]): boolean =>
  a.length === b.length && a.every((host, index) => host === b[index]);

interface Kept extends Certified {
  hosts: string[];
  issuer: string | null;
}

async function read(store: Store, db: Queryable, name: string): Promise<Kept | null> {
  const { rows } = await db.query<{
    id: string;
    hosts: string[];
    issuer: string | null;
    certificate: string;
    key: Buffer;
    expires_at: Date;
  }>("SELECT * FROM certificates WHERE name = $1", [name]);
  const row = rows[0];
  if (!row) return null;
  return {
    certificate: row.certificate,
    key: store.unseal(`certificates.key:${row.id}`, row.key),
    expires: row.expires_at,
    hosts: row.hosts,
    issuer: row.issuer,
  };
}

async function keep(
  store: Store,
  tx: Queryable,
  name: string,
  hosts: string[],
  made: Certified,
  issuer: string | null = null,
): Promise<void> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO certificates (name, hosts, issuer, certificate, key, expires_at)
     VALUES ($1, $2, $3, $4, '', $5)
     ON CONFLICT (name) DO UPDATE SET hosts = $2, issuer = $3, certificate = $4, expires_at = $5
     RETURNING id`,
    [name, hosts, issuer, made.certificate, made.expires],
  );
  const { id } = rows[0]!;
  await tx.query("UPDATE certificates SET key = $2 WHERE id = $1", [
    id,
    store.seal(`certificates.key:${id}`, made.key),
  ]);
}

/** Written in place: the file is this user's, its folder is not. */
function publish(caFile: string, certificate: string): void {
  let there = "";
  try {
    there = readFileSync(caFile, "utf8");
  } catch {
    // Not there yet.
  }
  if (there !== certificate) writeFileSync(caFile, certificate, { mode: 0o644 });
}
