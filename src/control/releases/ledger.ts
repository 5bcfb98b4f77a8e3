import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { randomSecret } from "../../config/environment.ts";
import { nowMicros } from "../app-log.ts";
import { BuildOutput, readOutput } from "../builds/output.ts";
import type { Control } from "../control.ts";
import { ApiError, invalidParams, notFound } from "../errors.ts";
import type { Queryable } from "../store/store.ts";
import { type ConfigVars, changeConfig } from "./config-vars.ts";
import type { Actor, Release, ReleaseChange, Releases } from "./releases.ts";

/** What the ledger needs of control; `formation` is looked up when it is used, being made after it. */
export type LedgerParts = Pick<Control, "store" | "log" | "appLog" | "layout" | "formation">;

const RELEASE_COLUMNS = `releases.id, releases.app_id AS "appId", version, slug_id AS "slugId", description,
  user_id AS "userId", user_email AS "userEmail", status, trouble, output_token AS "outputToken",
  addon_plan_names AS "addonPlanNames",
  releases.created_at AS "createdAt", releases.updated_at AS "updatedAt"`;

interface AppRow {
  version: number;
  config: Buffer | null;
}

/** Makes the ledger of releases. */
export function createReleases(control: LedgerParts): Releases {
  return new Ledger(control);
}

class Ledger implements Releases {
  #control: LedgerParts;
  /** Release phases of one app run one after the other. */
  #phases = new Map<string, Promise<void>>();
  /** Releases whose output is just being opened. */
  #opening = new Set<string>();
  #outputs = new Map<string, BuildOutput>();
  #stopped = false;

  constructor(control: LedgerParts) {
    this.#control = control;
  }

  async start(): Promise<void> {
    const { store, appLog } = this.#control;
    const { rows } = await store.pool.query<{ app_id: string; version: number; user_email: string }>(
      `UPDATE releases SET status = 'failed', updated_at = now()
       WHERE status = 'pending' AND epoch < $1 RETURNING app_id, version, user_email`,
      [store.epoch],
    );
    for (const { app_id, version, user_email } of rows) {
      appLog.api(app_id, `Release v${version} command failed by user ${user_email}`);
    }
  }

  async create(
    appId: string,
    actor: Actor,
    description: string,
    change: ReleaseChange,
    before?: (tx: Queryable) => Promise<void>,
  ): Promise<Release> {
    const { store } = this.#control;
    const { release, phased } = await store.transaction(async (tx) => {
      await before?.(tx);
      return this.#append(tx, appId, actor, description, change);
    });
    await this.#begin(release, phased);
    return release;
  }

  async changeConfig(
    appId: string,
    actor: Actor,
    change: Record<string, string | null>,
    describe: (set: string[], removed: string[]) => string,
  ): Promise<ConfigVars> {
    const { store } = this.#control;
    const made = await store.transaction(async (tx) => {
      const app = await lockApp(tx, appId);
      const { next, set, removed } = changeConfig(this.#open(`apps.config:${appId}`, app.config), change);
      if (set.length + removed.length === 0) return { next, appended: null };
      const appended = await this.#append(tx, appId, actor, describe(set, removed), { config: change });
      return { next, appended };
    });
    if (made.appended) await this.#begin(made.appended.release, made.appended.phased);
    return made.next;
  }

  /** Writes the row, and with it the app's config vars and its next version. */
  async #append(
    tx: Queryable,
    appId: string,
    actor: Actor,
    description: string,
    change: ReleaseChange,
  ): Promise<{ release: Release; phased: boolean }> {
    const { store } = this.#control;
    const app = await lockApp(tx, appId);
    const base = await latest(tx, appId);
    let slugId = change.slugId ?? base?.slugId ?? null;
    let config = this.#open(`apps.config:${appId}`, app.config);
    if (change.rollbackTo !== undefined) {
      const target = await eligible(tx, appId, change.rollbackTo);
      slugId = target.slugId;
      config = this.#open(`releases.config:${target.id}`, target.config);
    }
    if (change.config) config = changeConfig(config, change.config).next;
    const slug = slugId === null ? null : await usableSlug(tx, appId, slugId);
    const phased = slug?.hasPhase ?? false;
    const id = randomUUID();
    const text = JSON.stringify(config);
    const { rows } = await tx.query<Release>(
      `INSERT INTO releases (id, app_id, version, slug_id, config, description, user_id, user_email, status,
         output_token, epoch)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING ${RELEASE_COLUMNS}`,
      [
        id,
        appId,
        app.version,
        slugId,
        store.seal(`releases.config:${id}`, text),
        description,
        actor.id,
        actor.email,
        phased ? "pending" : "succeeded",
        phased ? randomSecret() : null,
        store.epoch,
      ],
    );
    await tx.query(
      "UPDATE apps SET next_version = next_version + 1, config = $2, updated_at = now() WHERE id = $1",
      [appId, store.seal(`apps.config:${appId}`, text)],
    );
    if (!phased) await markReleased(tx, appId, slugId);
    return { release: rows[0]!, phased };
  }

  /** The row stands: tells of it, and sets the release command or the dynos going. */
  async #begin(release: Release, phased: boolean): Promise<void> {
    this.#tell(release, phased);
    if (phased) this.#startPhase(release);
    else await this.#serve(release);
  }

  /** A formation that cannot be brought up right now is tried again by itself; the release stands. */
  async #serve(release: Release): Promise<void> {
    try {
      await this.#control.formation.release(release);
    } catch (error) {
      const { appId, version } = release;
      this.#control.log.warn({ err: error, app: appId, version }, "the dynos of a release are ordered later");
    }
  }

  /** The two lines of one release, of one time. */
  #tell({ appId, version, description, userEmail }: Release, phased: boolean): void {
    const { appLog } = this.#control;
    const at = nowMicros();
    appLog.api(appId, `${description} by user ${userEmail}`, at);
    const second = phased ? `Running release v${version} commands` : `Release v${version} created`;
    appLog.api(appId, `${second} by user ${userEmail}`, at);
  }

  #startPhase(release: Release): void {
    const before = this.#phases.get(release.appId) ?? Promise.resolve();
    const mine = before.then(() => this.#phase(release));
    this.#phases.set(release.appId, mine);
    void mine.then(() => {
      if (this.#phases.get(release.appId) === mine) this.#phases.delete(release.appId);
    });
  }

  /** Runs the release command, then lets the release succeed or fail; never rejects. */
  async #phase(release: Release): Promise<void> {
    const { store, log, appLog, formation } = this.#control;
    const { appId, version, userEmail } = release;
    let output: BuildOutput | null = null;
    let ok = false;
    try {
      await mkdir(this.#folder(), { recursive: true, mode: 0o700 });
      this.#opening.add(release.id);
      output = await BuildOutput.open(this.#file(release.id));
      this.#outputs.set(release.id, output);
      this.#opening.delete(release.id);
      const kept = output;
      const status = await formation.releasePhase(release, (chunk) => void kept.append(chunk));
      ok = status === 0;
    } catch (error) {
      log.warn({ err: error, app: appId, version }, "a release command could not run");
      const why = error instanceof ApiError ? error.message : "The release command could not be run.";
      await output?.append(`${why}\n`).catch(() => {});
    }
    // Killed or stopped in between: the next start ends it as failed.
    if (this.#stopped) return;
    try {
      await store.transaction(async (tx) => {
        await tx.query(
          "UPDATE releases SET status = $2, updated_at = now() WHERE id = $1 AND status = 'pending'",
          [release.id, ok ? "succeeded" : "failed"],
        );
        if (ok) await markReleased(tx, appId, release.slugId);
      });
      const words = ok ? `Release v${version} created` : `Release v${version} command failed`;
      appLog.api(appId, `${words} by user ${userEmail}`);
      if (ok) await this.#serve(release);
    } catch (error) {
      log.error({ err: error, app: appId, version }, "a release could not be settled");
    }
    this.#opening.delete(release.id);
    await output?.end().catch(() => {});
    this.#outputs.delete(release.id);
  }

  #folder(): string {
    return path.join(this.#control.layout.control, "release-output");
  }

  #file(releaseId: string): string {
    return path.join(this.#folder(), `${releaseId}.log`);
  }

  async settled(release: Release): Promise<Release> {
    await this.#phases.get(release.appId);
    return this.find(release.appId, release.id);
  }

  async output(releaseId: string, from = 0): Promise<Readable | null> {
    const live = this.#outputs.get(releaseId);
    if (live) return live.follow(from);
    // Its file is there, empty, before what will be printed can be followed.
    if (this.#opening.has(releaseId)) return null;
    try {
      const stream = readOutput(this.#file(releaseId), from, null);
      return await new Promise((resolve, reject) => {
        stream.once("readable", () => resolve(stream));
        stream.once("error", reject);
        stream.once("end", () => resolve(stream));
      });
    } catch {
      return null;
    }
  }

  async current(appId: string): Promise<Release | null> {
    const { rows } = await this.#control.store.pool.query<Release>(
      `SELECT ${RELEASE_COLUMNS} FROM releases WHERE app_id = $1 AND status = 'succeeded'
       ORDER BY version DESC LIMIT 1`,
      [appId],
    );
    return rows[0] ?? null;
  }

  async list(appId: string): Promise<Release[]> {
    const { rows } = await this.#control.store.pool.query<Release>(
      `SELECT ${RELEASE_COLUMNS} FROM releases WHERE app_id = $1 ORDER BY version`,
      [appId],
    );
    return rows;
  }

  async find(appId: string, idOrVersion: string): Promise<Release> {
    const version = /^v?(\d{1,9})$/.exec(idOrVersion);
    const isId = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(idOrVersion);
    if (!version && !isId) throw notFound("release");
    const { rows } = await this.#control.store.pool.query<Release>(
      `SELECT ${RELEASE_COLUMNS} FROM releases WHERE app_id = $1 AND ${version ? "version" : "id"} = $2`,
      [appId, version ? Number(version[1]) : idOrVersion],
    );
    if (!rows[0]) throw notFound("release");
    return rows[0];
  }

  async config(release: Release): Promise<ConfigVars> {
    const { rows } = await this.#control.store.pool.query<{ config: Buffer | null }>(
      "SELECT config FROM releases WHERE id = $1",
      [release.id],
    );
    return this.#open(`releases.config:${release.id}`, rows[0]?.config ?? null);
  }

  async appConfig(appId: string): Promise<ConfigVars> {
    const { rows } = await this.#control.store.pool.query<{ config: Buffer | null }>(
      "SELECT config FROM apps WHERE id = $1",
      [appId],
    );
    return this.#open(`apps.config:${appId}`, rows[0]?.config ?? null);
  }

  #open(bound: string, sealed: Buffer | null): ConfigVars {
    return sealed ? JSON.parse(this.#control.store.unseal(bound, sealed)) : {};
  }

  async forget(releaseIds: readonly string[]): Promise<void> {
    for (const id of releaseIds) await rm(this.#file(id), { force: true });
  }

  async stop(): Promise<void> {
    // A release command under way ends with the formation, which stops after this.
    this.#stopped = true;
    await Promise.all([...this.#outputs.values()].map((output) => output.end()));
  }
}

/** Locks the app's row: two writes at once get two versions, one after the other. */
async function lockApp(tx: Queryable, appId: string): Promise<AppRow> {
  const { rows } = await tx.query<AppRow>(
    "SELECT next_version AS version, config FROM apps WHERE id = $1 FOR UPDATE",
    [appId],
  );
  if (!rows[0]) throw notFound("app");
  return rows[0];
}

/** The newest release that did not fail: a change while a release command runs builds on what that brings. */
async function latest(tx: Queryable, appId: string): Promise<{ slugId: string | null } | null> {
  const { rows } = await tx.query<{ slugId: string | null }>(
    `SELECT slug_id AS "slugId" FROM releases WHERE app_id = $1 AND status <> 'failed'
     ORDER BY version DESC LIMIT 1`,
    [appId],
  );
  return rows[0] ?? null;
}

/** The release to roll back to. @throws ApiError 422 when it cannot be */
async function eligible(
  tx: Queryable,
  appId: string,
  version: number,
): Promise<{ id: string; slugId: string; config: Buffer | null }> {
  const { rows } = await tx.query<{
    id: string;
    slugId: string | null;
    config: Buffer | null;
    status: string;
  }>(`SELECT id, slug_id AS "slugId", config, status FROM releases WHERE app_id = $1 AND version = $2`, [
    appId,
    version,
  ]);
  const found = rows[0];
  if (!found)
    throw invalidParams(`There is no release v${version} to roll back to; see \`sluice releases\`.`);
  const { slugId, status } = found;
  if (status !== "succeeded") {
    throw invalidParams(
      `Cannot roll back to v${version}: it ${status === "failed" ? "failed" : "is pending"}.`,
    );
  }
  if (slugId === null) {
    throw invalidParams(
      `Cannot roll back to v${version}: it had no slug to run. Choose one made by a deploy or later.`,
    );
  }
  return { id: found.id, slugId, config: found.config };
}

/** @throws ApiError when the slug is another app's, or its archive has not arrived */
async function usableSlug(tx: Queryable, appId: string, slugId: string): Promise<{ hasPhase: boolean }> {
  const { rows } = await tx.query<{ hasPhase: boolean; sha256: string | null }>(
    `SELECT sha256, process_types ? 'release' AS "hasPhase" FROM slugs WHERE app_id = $1 AND id = $2`,
    [appId, slugId],
  );
  if (!rows[0]) throw notFound("slug");
  if (!rows[0].sha256) {
    throw invalidParams("The slug's archive has not been uploaded; PUT it to the slug's blob url first.");
  }
  return rows[0];
}

/** What the app says of itself once a release is the current one. */
async function markReleased(tx: Queryable, appId: string, slugId: string | null): Promise<void> {
  await tx.query(
    `UPDATE apps SET released_at = now(), updated_at = now(),
       slug_size = coalesce((SELECT size FROM slugs WHERE id = $2), slug_size),
       buildpack_provided_description = coalesce(
         (SELECT buildpack_provided_description FROM slugs WHERE id = $2), buildpack_provided_description)
     WHERE id = $1`,
    [appId, slugId],
  );
}
