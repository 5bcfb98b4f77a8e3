import { notFound } from "./errors.ts";
import type { Queryable } from "./store/store.ts";

/** An app as the store keeps it. */
export interface App {
  id: string;
  /** Counts up over all apps: `heroku.<number>` in the metrics lines. */
  number: number;
  name: string;
  ownerId: string;
  ownerEmail: string;
  /** `heroku-22` or `heroku-24`: what its slug was built for, and what the next build is for. */
  stack: string;
  buildStack: string;
  maintenance: boolean;
  dynoUid: number;
  buildUid: number;
  /** Config vars, sealed for `apps.config:<id>`; null: none. */
  config: Buffer | null;
  /** Switches that differ from their defaults (features.ts). */
  features: Record<string, boolean>;
  buildpackProvidedDescription: string | null;
  repoSize: number;
  slugSize: number;
  releasedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}

/** Columns of an App, for a query over `apps` joined with `accounts`. */
const APP_COLUMNS = `apps.id, apps.number, apps.name, apps.owner_id AS "ownerId", accounts.email AS "ownerEmail",
  apps.stack, apps.build_stack AS "buildStack", apps.maintenance, apps.dyno_uid AS "dynoUid",
  apps.build_uid AS "buildUid", apps.config, apps.features,
  apps.buildpack_provided_description AS "buildpackProvidedDescription", apps.repo_size AS "repoSize",
  apps.slug_size AS "slugSize", apps.released_at AS "releasedAt", apps.created_at AS "createdAt",
  apps.updated_at AS "updatedAt"`;
const FROM_APPS = "FROM apps JOIN accounts ON accounts.id = apps.owner_id";

/** True for the text of a UUID, which a path may hold in place of a name. */
export const isUuid = (text: string): boolean =>
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);

/**
 * The app with this id or name.
 * @throws ApiError 404 when there is none.
 */
export async function findApp(store: Queryable, idOrName: string): Promise<App> {
  const column = isUuid(idOrName) ? "id" : "name";
  const { rows } = await store.query<App>(`SELECT ${APP_COLUMNS} ${FROM_APPS} WHERE apps.${column} = $1`, [
    idOrName,
  ]);
  if (!rows[0]) throw notFound("app");
  return rows[0];
}

/** Every app, by name. */
export async function allApps(store: Queryable): Promise<App[]> {
  const { rows } = await store.query<App>(`SELECT ${APP_COLUMNS} ${FROM_APPS} ORDER BY apps.name`);
  return rows;
}

/** The app's row locked until the transaction ends, so that changes of one app come one after the other. */
export async function lockApp(tx: Queryable, id: string): Promise<void> {
  const { rowCount } = await tx.query("SELECT 1 FROM apps WHERE id = $1 FOR UPDATE", [id]);
  if (!rowCount) throw notFound("app");
}
