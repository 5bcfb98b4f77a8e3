import type { DynoReport, HostInventory } from "../../wire/orders.ts";
import type { Control } from "../control.ts";
import { notFound, unavailable } from "../errors.ts";
import type { Actor, Release } from "../releases/releases.ts";
import type { Queryable } from "../store/store.ts";
import { Convergence, scaledLine } from "./convergence.ts";
import { Draining } from "./draining.ts";
import type { Dyno, Formation, FormationType, FormationUpdate, OneOff } from "./formation.ts";
import { OneOffs } from "./one-offs.ts";
import { RELEASE_TYPE } from "./plan.ts";
import { Publication } from "./publication.ts";
import { Reports } from "./reports.ts";
import { type DynoRow, readDynos, readFormation } from "./rows.ts";
import { applyUpdates } from "./scaling.ts";

/** A host that is there says so at once; without one, edges shall not wait longer for their table. */
const ADOPT_MS = 3000;
/** A stopped dyno is gone by then, also when nobody said so: 30 s of SIGTERM, then SIGKILL. */
const STOPPED_SECONDS = 60;
const AUDIT_MS = 15_000;
/** Apps brought up at a time at start: as many as leave the store's connections free for others. */
const START_WIDTH = 4;

/** What the keeper needs of control. */
export type FormationParts = Pick<
  Control,
  "config" | "log" | "store" | "appLog" | "feeds" | "links" | "hosts" | "rendezvous"
>;

/** Clocks of the formation in milliseconds, where they are not Heroku's. */
export interface FormationClocks {
  /** For requests in flight on a dyno that left the routes. */
  drainMs?: number;
  /** For the client of an attached one-off to come. */
  clientMs?: number;
}

/** Makes the formation over control's other rooms. */
export function createFormation(control: FormationParts, clocks: FormationClocks = {}): Formation {
  return new FormationKeeper(control, clocks);
}

class FormationKeeper implements Formation {
  #control: FormationParts;
  #reports = new Reports();
  #draining: Draining;
  #publication: Publication;
  #convergence: Convergence;
  #oneOffs: OneOffs;
  /** One-offs of the last control: a host had their orders, so they are not ordered a second time. */
  #ran = new Set<string>();
  #audit: NodeJS.Timeout | null = null;
  #adopt: () => void = () => {};
  readonly adopted: Promise<void>;

  constructor(control: FormationParts, { drainMs, clientMs }: FormationClocks) {
    const { store, log, appLog, feeds, links, hosts, rendezvous, config } = control;
    this.#control = control;
    this.adopted = new Promise((resolve) => {
      this.#adopt = resolve;
    });
    this.#draining = new Draining(links, drainMs);
    this.#publication = new Publication(store, feeds, links, config.appDomain);
    this.#convergence = new Convergence({
      store,
      log,
      appLog,
      reports: this.#reports,
      publication: this.#publication,
      draining: this.#draining,
    });
    this.#oneOffs = new OneOffs({
      store,
      hosts,
      appLog,
      rendezvous,
      convergence: this.#convergence,
      publication: this.#publication,
      clientMs,
    });
    this.#draining.onDone = (appId, dyno) => {
      void this.#convergence.insist(appId, async (tx) => {
        await tx.query("DELETE FROM dynos WHERE id = $1 AND phase = 'draining'", [dyno]);
        this.#reports.forget(dyno);
      });
    };
  }

  async start(): Promise<void> {
    const { store, hosts } = this.#control;
    // Their clients and their release ended with the last control; detached one-offs go on.
    await store.pool.query("DELETE FROM dynos WHERE attached OR kind = 'release'");
    const ran = await store.pool.query<{ id: string }>("SELECT id FROM dynos WHERE kind = 'run'");
    this.#ran = new Set(ran.rows.map(({ id }) => id));
    const { rows } = await store.pool.query<{ id: string }>("SELECT id FROM apps ORDER BY number");
    const queue = rows.map(({ id }) => id);
    const work = async (): Promise<void> => {
      for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
        await this.#convergence.turn(id, async () => {}).catch((error) => this.#tolerate(id, error));
      }
    };
    await Promise.all(Array.from({ length: START_WIDTH }, work));
    this.#convergence.returning = false;
    hosts.onReport = (report) => this.#onReport(report);
    hosts.onInventory = (inventory) => void this.#onInventory(inventory);
    setTimeout(() => this.#adopt(), ADOPT_MS).unref();
    this.#audit = setInterval(() => void this.#sweep(), AUDIT_MS);
    this.#audit.unref();
  }

  /** One app that cannot be read must not keep the others from starting. */
  #tolerate(appId: string, error: Error): void {
    this.#control.log.error({ err: error, app: appId }, "a formation cannot be brought up");
    this.#convergence.later(() => this.#convergence.look(appId));
  }

  #onReport(report: DynoReport): void {
    const { dyno, app, state } = report;
    const order = this.#control.feeds.orders.get(dyno);
    const ended = state === "complete" || state === "down" || state === "crashed";
    if (!order) {
      if (ended && this.#oneOffs.awaits(dyno)) this.#oneOffs.ended(app, dyno, report.status);
      else if (ended) this.#gone(app, dyno);
      else this.#publication.disown(dyno);
      return;
    }
    if (order.kind !== "formation" && ended) {
      this.#reports.forget(dyno);
      this.#oneOffs.ended(app, dyno, report.status);
      return;
    }
    this.#reports.take(report);
    this.#convergence.look(app);
  }

  /** A dyno without an order has ended: whoever waits for that may start. */
  #gone(app: string, dyno: string): void {
    this.#reports.forget(dyno);
    void this.#convergence.insist(app, async (tx) => {
      await tx.query("DELETE FROM dynos WHERE id = $1 AND phase = 'stopping'", [dyno]);
    });
  }

  async #onInventory({ dynos }: HostInventory): Promise<void> {
    const there = new Set(dynos.map(({ dyno }) => dyno));
    const { orders } = this.#control.feeds;
    const absent = [...orders.entries()].filter(([id]) => !there.has(id)).map(([, order]) => order);
    const ran = (dyno: string): boolean => this.#ran.has(dyno) || this.#reports.get(dyno) !== undefined;
    const lost = absent.filter(({ kind, dyno }) => kind !== "formation" && ran(dyno));
    // Taken back before the host gets its snapshot: what has run once shall not run again.
    for (const { app, dyno, name } of lost) {
      this.#control.appLog.platform(
        app,
        name,
        "Error R99 (Platform error) -> The dyno was lost with its host",
      );
      this.#publication.disown(dyno);
      this.#oneOffs.ended(app, dyno, null);
    }
    for (const { kind, dyno } of absent) if (kind === "formation") this.#reports.restarted(dyno);
    for (const report of dynos) this.#onReport(report);
    for (const app of new Set(absent.map(({ app }) => app))) this.#convergence.look(app);
    await this.#sweepStopped([...there]).catch((error) => this.#control.log.warn({ err: error }, "sweep"));
    this.#adopt();
  }

  /** Stopping dynos that the host does not have are gone. */
  async #sweepStopped(there: string[]): Promise<void> {
    const { rows } = await this.#control.store.pool.query<{ id: string; app_id: string }>(
      "SELECT id, app_id FROM dynos WHERE phase = 'stopping' AND NOT id = ANY ($1::uuid[])",
      [there],
    );
    for (const { id, app_id } of rows) this.#gone(app_id, id);
  }

  async #sweep(): Promise<void> {
    if (this.#control.hosts.connected.length === 0) return;
    try {
      const { rows } = await this.#control.store.pool.query<{ id: string; app_id: string }>(
        `SELECT id, app_id FROM dynos WHERE phase = 'stopping' AND updated_at < now() - make_interval(secs => $1)`,
        [STOPPED_SECONDS],
      );
      for (const { id, app_id } of rows) this.#gone(app_id, id);
    } catch {
      // The store is away; the next look finds the same rows.
    }
  }

  async release(release: Release): Promise<void> {
    await this.#convergence.turn(release.appId, async () => {});
    await this.#publication.applied();
  }

  async types(appId: string): Promise<FormationType[]> {
    const { rows } = await this.#control.store.pool.query<FormationType>(
      `SELECT formation.id, type, process_types ->> type AS command, quantity, formation.size,
         formation.created_at AS "createdAt", formation.updated_at AS "updatedAt"
       FROM formation JOIN slugs ON slugs.id =
         (SELECT slug_id FROM releases WHERE app_id = $1 AND status = 'succeeded' ORDER BY version DESC LIMIT 1)
       WHERE formation.app_id = $1 AND process_types ? type ORDER BY type`,
      [appId],
    );
    return rows;
  }

  async scale(appId: string, actor: Actor, updates: FormationUpdate[]): Promise<void> {
    const line = await this.#convergence.turn(appId, async (tx) => {
      const formation = (await readFormation(tx, appId))!;
      await applyUpdates(tx, formation, updates, this.#control.config.dynosPerApp);
      const after = (await readFormation(tx, appId))!;
      const types = Object.keys(after.current?.processTypes ?? {}).filter((type) => type !== RELEASE_TYPE);
      return scaledLine(types.sort(), after.wanted, actor.email);
    });
    this.#control.appLog.api(appId, line);
    await this.#publication.applied();
  }

  async restart(appId: string, which: { type?: string; dyno?: string } = {}): Promise<void> {
    await this.#convergence.turn(appId, async (tx) => {
      const chosen = await chosenDynos(tx, appId, which);
      const formation = chosen.filter(({ kind }) => kind === "formation");
      if (which.dyno !== undefined && formation.length === 0) {
        await this.#stopOneOffs(tx, chosen);
        return;
      }
      for (const { name } of formation) this.#control.appLog.platform(appId, name, "Restarting");
      const replaced = formation.filter(({ phase }) => phase === "serving").map(({ id }) => id);
      await tx.query("UPDATE dynos SET phase = 'replaced', updated_at = now() WHERE id = ANY ($1::uuid[])", [
        replaced,
      ]);
    });
    await this.#publication.applied();
  }

  async stop(appId: string, which: { type?: string; dyno?: string }): Promise<void> {
    await this.#convergence.turn(appId, async (tx) => {
      const chosen = await chosenDynos(tx, appId, which);
      await this.#stopOneOffs(
        tx,
        chosen.filter(({ kind }) => kind !== "formation"),
      );
      const formation = chosen.filter(({ kind }) => kind === "formation");
      const ids = (web: boolean): string[] =>
        formation.filter(({ type }) => (type === "web") === web).map(({ id }) => id);
      // The formation wants them, so the plan starts new ones; web's at once, the others' when these have ended.
      await tx.query("DELETE FROM dynos WHERE id = ANY ($1::uuid[])", [ids(true)]);
      await tx.query(
        "UPDATE dynos SET phase = 'stopping', updated_at = now() WHERE id = ANY ($1::uuid[]) AND phase <> 'queued'",
        [ids(false)],
      );
    });
    await this.#publication.applied();
  }

  async #stopOneOffs(tx: Queryable, dynos: DynoRow[]): Promise<void> {
    await tx.query("DELETE FROM dynos WHERE id = ANY ($1::uuid[])", [dynos.map(({ id }) => id)]);
  }

  run(appId: string, actor: Actor, oneOff: OneOff): Promise<Dyno> {
    return this.#oneOffs.run(appId, actor, oneOff);
  }

  async resize(appId: string, dyno: string, columns: number, lines: number): Promise<void> {
    const chosen = await chosenDynos(this.#control.store.pool, appId, { dyno });
    for (const { id, attached } of chosen) if (attached) this.#control.hosts.resizeDyno(id, columns, lines);
  }

  releasePhase(release: Release, print: (chunk: Buffer) => void): Promise<number> {
    return this.#oneOffs.releasePhase(release, print);
  }

  async dynos(appId: string): Promise<Dyno[]> {
    const { pool } = this.#control.store;
    const rows = (await readDynos(pool, appId)).filter(isShown);
    const { rows: releases } = await pool.query<{ id: string; version: number }>(
      "SELECT id, version FROM releases WHERE id = ANY ($1::uuid[])",
      [rows.map(({ releaseId }) => releaseId)],
    );
    const versions = new Map(releases.map(({ id, version }) => [id, version]));
    return rows.map((row) => ({
      ...row,
      appId,
      state: this.#reports.get(row.id)?.state ?? row.state,
      releaseVersion: versions.get(row.releaseId) ?? 0,
      attachUrl: null,
    }));
  }

  async publishRoute(appId: string): Promise<void> {
    await this.#convergence.turn(appId, async () => {});
    await this.#publication.applied();
  }

  async destroyed(appId: string, uids: number[]): Promise<void> {
    await this.#convergence.exclusive(appId, () => this.#publication.withdraw(appId));
    const { hosts } = this.#control;
    if (hosts.connected.length === 0) {
      throw unavailable("no_host", "No host is connected to free what the app has left.");
    }
    hosts.forgetApp(appId, uids);
  }

  async close(): Promise<void> {
    if (this.#audit) clearInterval(this.#audit);
    this.#oneOffs.close();
    this.#draining.close();
    await this.#convergence.close();
  }
}

/** Dynos that the API shows: not those which are on their way out. */
const isShown = ({ phase }: DynoRow): boolean =>
  phase === "serving" || phase === "beside" || phase === "queued";

/**
 * The dynos that a call names: by name, id, or process type; all of the formation when it names none.
 * @throws ApiError 404 when a dyno that it names is not there
 */
async function chosenDynos(
  db: Queryable,
  appId: string,
  { type, dyno }: { type?: string; dyno?: string },
): Promise<DynoRow[]> {
  const shown = (await readDynos(db, appId)).filter(isShown);
  if (dyno !== undefined) {
    // `heroku ps:restart web` asks for the dyno `web`.
    const named = shown.filter(({ id, name, type }) => id === dyno || name === dyno || type === dyno);
    if (named.length === 0) throw notFound("dyno");
    return named;
  }
  return shown.filter((row) => (type === undefined ? row.kind === "formation" : row.type === type));
}
