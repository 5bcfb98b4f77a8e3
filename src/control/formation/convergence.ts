import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { DEFAULT_SIZE } from "../../config/environment.ts";
import type { AppLog } from "../app-log.ts";
import { notFound } from "../errors.ts";
import { featureOn } from "../features.ts";
import { isStoreDown } from "../store/postgres.ts";
import type { Queryable, Store } from "../store/store.ts";
import type { Draining } from "./draining.ts";
import { type FormationPicture, planFormation, RELEASE_TYPE, type Step } from "./plan.ts";
import type { Publication } from "./publication.ts";
import type { Reports } from "./reports.ts";
import { type AppFormation, type DynoRow, insertDyno, lockFormation, readFormation } from "./rows.ts";
import { Turns } from "./turns.ts";

/** A change that the store did not take is tried again after this. */
const RETRY_MS = 1000;
/** Each round brings the rows nearer to the plan; more rounds than this would be a plan that contradicts itself. */
const ROUNDS = 8;

/**
 * Brings an app's dynos to what they shall be, one turn at a time: rows are read under the app's lock, changed,
 * planned and written in one transaction; then orders and routes are published from them. A control killed in
 * between finds the rows, and its successor's first turn publishes the same.
 */
export class Convergence {
  #store: Store;
  #log: Logger;
  #appLog: AppLog;
  #reports: Reports;
  #publication: Publication;
  #draining: Draining;
  #turns = new Turns();
  #looks = new Set<string>();
  #retries = new Set<NodeJS.Timeout>();
  #closed = false;
  /** True until the first turn of every app: what drains then was left by the last control. */
  returning = true;

  constructor(parts: {
    store: Store;
    log: Logger;
    appLog: AppLog;
    reports: Reports;
    publication: Publication;
    draining: Draining;
  }) {
    this.#store = parts.store;
    this.#log = parts.log;
    this.#appLog = parts.appLog;
    this.#reports = parts.reports;
    this.#publication = parts.publication;
    this.#draining = parts.draining;
  }

  /**
   * One turn; `change` runs first in its transaction, with the app's row locked.
   * @throws ApiError 404 when the app is gone, and whatever `change` throws: then nothing has changed.
   */
  async turn<T>(appId: string, change: (tx: Queryable) => Promise<T>): Promise<T> {
    try {
      return await this.#turns.run(appId, () => this.#take(appId, change));
    } catch (error) {
      // The commit may have been made and only its answer lost: publish what the rows say by then.
      if (isStoreDown(error)) this.later(() => this.look(appId));
      throw error;
    }
  }

  /** A turn without a change, soon; one that cannot be now is tried again. */
  look(appId: string): void {
    if (this.#looks.has(appId) || this.#closed) return;
    this.#looks.add(appId);
    const work = (): Promise<void> => {
      this.#looks.delete(appId);
      return this.#take(appId, async (tx) => {
        // What a look finds, the next one finds again: the switch need not wait for the disk.
        await tx.query("SET LOCAL synchronous_commit = off");
      });
    };
    this.#turns.run(appId, work).catch((error: Error & { status?: number }) => {
      if (error.status === 404) return;
      if (!isStoreDown(error))
        this.#log.error({ err: error, app: appId }, "a formation cannot be brought up");
      this.later(() => this.look(appId));
    });
  }

  /** Like `turn`, but never rejects: tried again until the store has taken it, or the app is gone. */
  async insist(appId: string, change: (tx: Queryable) => Promise<void>): Promise<void> {
    try {
      await this.turn(appId, change);
    } catch (error) {
      if ((error as { status?: number }).status === 404 || this.#closed) return;
      this.#log.warn({ err: error, app: appId }, "a change of a formation is tried again");
      this.later(() => void this.insist(appId, change));
    }
  }

  /** Runs `work` between two turns of the app. */
  exclusive(appId: string, work: () => void): Promise<void> {
    return this.#turns.run(appId, async () => work());
  }

  later(work: () => void): void {
    const timer = setTimeout(() => {
      this.#retries.delete(timer);
      if (!this.#closed) work();
    }, RETRY_MS);
    this.#retries.add(timer);
  }

  async #take<T>(appId: string, change: (tx: Queryable) => Promise<T>): Promise<T> {
    const said: string[] = [];
    const { formation, result } = await this.#store.transaction(async (tx) => {
      if (!(await lockFormation(tx, appId))) throw notFound("app");
      const result = await change(tx);
      const formation = (await readFormation(tx, appId))!;
      await this.#addTypes(tx, formation, said);
      await this.#writeReports(tx, formation);
      await this.#bring(tx, formation, said);
      return { formation, result };
    });
    this.#publication.publish(formation);
    for (const dyno of formation.dynos) {
      if (dyno.phase === "draining") this.#draining.begin(appId, dyno.id, this.returning);
    }
    for (const line of said) this.#appLog.api(appId, line);
    return result;
  }

  /** Process types of the current slug that the formation does not know yet: web=1, the others 0. */
  async #addTypes(tx: Queryable, { app, current, wanted }: AppFormation, said: string[]): Promise<void> {
    const types = Object.keys(current?.processTypes ?? {})
      .filter((type) => type !== RELEASE_TYPE)
      .sort();
    const first = types.length > 0 && [...wanted.keys()].every((type) => type === RELEASE_TYPE);
    for (const type of types) {
      if (wanted.has(type)) continue;
      const row = { type, quantity: type === "web" ? 1 : 0, size: DEFAULT_SIZE };
      await tx.query("INSERT INTO formation (app_id, type, quantity, size) VALUES ($1, $2, $3, $4)", [
        app.id,
        row.type,
        row.quantity,
        row.size,
      ]);
      wanted.set(type, row);
    }
    if (first) said.push(scaledLine(types, wanted, current!.userEmail));
  }

  /** The hosts' last word into the rows. */
  async #writeReports(tx: Queryable, { dynos }: AppFormation): Promise<void> {
    for (const dyno of dynos) {
      const live = this.#reports.get(dyno.id);
      if (!live) continue;
      const { state, address, port } = live;
      if (dyno.state === state && dyno.address === address && dyno.port === port) continue;
      Object.assign(dyno, { state, address, port, updatedAt: new Date() });
      await tx.query("UPDATE dynos SET state = $2, address = $3, port = $4, updated_at = $5 WHERE id = $1", [
        dyno.id,
        state,
        address,
        port,
        dyno.updatedAt,
      ]);
    }
  }

  /** Plans until nothing is left to do now, and writes what came of it. */
  async #bring(tx: Queryable, formation: AppFormation, said: string[]): Promise<void> {
    const before = new Map(formation.dynos.map((dyno) => [dyno.id, dyno.phase]));
    let trouble = formation.current?.trouble ?? null;
    for (let round = 0; round < ROUNDS; round++) {
      const steps = planFormation(this.#picture(formation));
      if (steps.length === 0) break;
      for (const step of steps) applyStep(formation, step);
    }
    for (const dyno of formation.dynos) {
      const phase = before.get(dyno.id);
      if (phase === undefined) Object.assign(dyno, await insertDyno(tx, formation.app.id, dyno));
      else if (phase !== dyno.phase) {
        await tx.query("UPDATE dynos SET phase = $2, updated_at = now() WHERE id = $1", [
          dyno.id,
          dyno.phase,
        ]);
      }
      before.delete(dyno.id);
    }
    if (before.size > 0) {
      await tx.query("DELETE FROM dynos WHERE id = ANY ($1::uuid[])", [[...before.keys()]]);
      for (const id of before.keys()) this.#reports.forget(id);
    }
    const { current } = formation;
    if (current && current.trouble !== trouble) {
      trouble = current.trouble;
      await tx.query("UPDATE releases SET trouble = $2, updated_at = now() WHERE id = $1", [
        current.id,
        trouble,
      ]);
      if (trouble) said.push(trouble);
    }
  }

  #picture({ app, current, wanted, releases, dynos }: AppFormation): FormationPicture {
    return {
      current,
      wanted,
      preboot: featureOn(app, "preboot"),
      dynos: dynos
        .filter(({ kind }) => kind === "formation")
        .map(({ id, type, name, releaseId, command, size, phase, state }) => ({
          id,
          type,
          number: Number(name.slice(type.length + 1)),
          releaseId,
          version: releases.get(releaseId)!.version,
          command,
          size,
          phase,
          state,
          failed: this.#reports.get(id)?.failed ?? false,
        })),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#retries) clearTimeout(timer);
    await this.#turns.idle();
  }
}

function applyStep(formation: AppFormation, step: Step): void {
  const { dynos } = formation;
  switch (step.do) {
    case "create":
      dynos.push(newRow(step.dyno));
      break;
    case "move": {
      const dyno = dynos.find(({ id }) => id === step.id);
      if (dyno) dyno.phase = step.phase;
      break;
    }
    case "remove": {
      const at = dynos.findIndex(({ id }) => id === step.id);
      if (at >= 0) dynos.splice(at, 1);
      break;
    }
    case "trouble":
      formation.current!.trouble = step.text;
  }
}

function newRow({ number, ...dyno }: Extract<Step, { do: "create" }>["dyno"]): DynoRow {
  const now = new Date();
  return {
    ...dyno,
    id: randomUUID(),
    kind: "formation",
    name: `${dyno.type}.${number}`,
    env: null,
    timeToLive: 0,
    state: "starting",
    address: null,
    port: null,
    attached: false,
    createdAt: now,
    updatedAt: now,
  };
}

/** `Scaled to web@1:Basic worker@0:Basic by user E`, every type named. */
export function scaledLine(
  types: readonly string[],
  wanted: ReadonlyMap<string, { quantity: number; size: string }>,
  email: string,
): string {
  const words = types.map((type) => {
    const { quantity, size } = wanted.get(type) ?? { quantity: 0, size: DEFAULT_SIZE };
    return `${type}@${quantity}:${size}`;
  });
  return `Scaled to ${words.join(" ")} by user ${email}`;
}
