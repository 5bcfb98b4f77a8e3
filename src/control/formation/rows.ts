import type { DynoState } from "../../wire/orders.ts";
import type { Queryable } from "../store/store.ts";
import type { Phase } from "./plan.ts";

/** One row of `dynos`. */
export interface DynoRow {
  id: string;
  releaseId: string;
  kind: "formation" | "run" | "release";
  type: string;
  name: string;
  command: string;
  size: string;
  env: Buffer | null;
  timeToLive: number;
  state: DynoState;
  address: string | null;
  port: number | null;
  phase: Phase;
  attached: boolean;
  createdAt: Date;
  updatedAt: Date;
}

/** A release with its slug, as far as dynos need it. */
export interface RunRelease {
  id: string;
  version: number;
  description: string;
  userEmail: string;
  trouble: string | null;
  config: Buffer | null;
  createdAt: Date;
  slugId: string | null;
  sha256: string | null;
  slugSize: number;
  slugStack: string | null;
  commit: string | null;
  processTypes: Record<string, string>;
}

export interface FormationRow {
  type: string;
  quantity: number;
  size: string;
}

export interface FormationApp {
  id: string;
  name: string;
  stack: string;
  maintenance: boolean;
  features: Record<string, boolean>;
  dynoUid: number;
  config: Buffer | null;
}

/** Everything that the store holds of one app's formation, read under the lock of the app's row. */
export interface AppFormation {
  app: FormationApp;
  hosts: string[];
  wanted: Map<string, FormationRow>;
  /** By id: the current one, and every one that a dyno runs. */
  releases: Map<string, RunRelease>;
  current: RunRelease | null;
  dynos: DynoRow[];
}

const DYNO_COLUMNS = `id, release_id AS "releaseId", kind, type, name, command, size, env,
  time_to_live AS "timeToLive", state, address, port, phase, attached,
  created_at AS "createdAt", updated_at AS "updatedAt"`;

const RELEASE_COLUMNS = `releases.id, version, releases.description, user_email AS "userEmail", trouble, config,
  releases.created_at AS "createdAt", slug_id AS "slugId", sha256, coalesce(size, 0) AS "slugSize",
  slugs.stack AS "slugStack", commit, coalesce(process_types, '{}') AS "processTypes"`;

/** Locks the app's row until the transaction ends; false when there is no such app. */
export async function lockFormation(tx: Queryable, appId: string): Promise<boolean> {
  const { rowCount } = await tx.query("SELECT 1 FROM apps WHERE id = $1 FOR UPDATE", [appId]);
  return rowCount === 1;
}

export async function readDynos(db: Queryable, appId: string): Promise<DynoRow[]> {
  const { rows } = await db.query<DynoRow>(
    `SELECT ${DYNO_COLUMNS} FROM dynos WHERE app_id = $1 ORDER BY created_at, name, id`,
    [appId],
  );
  return rows;
}

/** Reads the whole formation; null when there is no such app. */
export async function readFormation(db: Queryable, appId: string): Promise<AppFormation | null> {
  const apps = await db.query<FormationApp>(
    `SELECT id, name, stack, maintenance, features, dyno_uid AS "dynoUid", config FROM apps WHERE id = $1`,
    [appId],
  );
  const app = apps.rows[0];
  if (!app) return null;
  const domains = await db.query<{ hostname: string }>(
    "SELECT hostname FROM domains WHERE app_id = $1 ORDER BY created_at, hostname",
    [appId],
  );
  const wanted = await db.query<FormationRow>(
    "SELECT type, quantity, size FROM formation WHERE app_id = $1 ORDER BY type",
    [appId],
  );
  const dynos = await readDynos(db, appId);
  const releases = await db.query<RunRelease & { isCurrent: boolean }>(
    `SELECT ${RELEASE_COLUMNS}, releases.id = latest.id AS "isCurrent"
     FROM releases LEFT JOIN slugs ON slugs.id = slug_id
     LEFT JOIN (SELECT id FROM releases WHERE app_id = $1 AND status = 'succeeded' ORDER BY version DESC LIMIT 1)
       AS latest ON true
     WHERE releases.app_id = $1 AND (releases.id = latest.id OR releases.id = ANY ($2::uuid[]))`,
    [appId, dynos.map((dyno) => dyno.releaseId)],
  );
  return {
    app,
    hosts: domains.rows.map(({ hostname }) => hostname),
    wanted: new Map(wanted.rows.map((row) => [row.type, row])),
    releases: new Map(releases.rows.map((release) => [release.id, release])),
    current: releases.rows.find(({ isCurrent }) => isCurrent) ?? null,
    dynos,
  };
}

export type NewDyno = Pick<DynoRow, "id" | "releaseId" | "kind" | "type" | "name" | "command" | "size"> &
  Partial<Pick<DynoRow, "env" | "timeToLive" | "phase" | "attached">>;

/** Adds a row and gives it back whole. */
export async function insertDyno(tx: Queryable, appId: string, dyno: NewDyno): Promise<DynoRow> {
  const { rows } = await tx.query<DynoRow>(
    `INSERT INTO dynos (id, app_id, release_id, kind, type, name, command, size, env, time_to_live, phase, attached)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING ${DYNO_COLUMNS}`,
    [
      dyno.id,
      appId,
      dyno.releaseId,
      dyno.kind,
      dyno.type,
      dyno.name,
      dyno.command,
      dyno.size,
      dyno.env ?? null,
      dyno.timeToLive ?? 0,
      dyno.phase ?? "serving",
      dyno.attached ?? false,
    ],
  );
  return rows[0]!;
}
