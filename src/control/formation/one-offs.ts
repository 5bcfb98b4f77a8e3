import { randomInt, randomUUID } from "node:crypto";
import type net from "node:net";
import { DEFAULT_SIZE } from "../../config/environment.ts";
import type { AppLog } from "../app-log.ts";
import { ApiError, invalidParams, unavailable } from "../errors.ts";
import type { Hosts } from "../hosts.ts";
import type { Actor, Release } from "../releases/releases.ts";
import type { Rendezvous } from "../rendezvous/rendezvous.ts";
import { joinTerminal } from "../rendezvous/terminal.ts";
import type { Store } from "../store/store.ts";
import type { Convergence } from "./convergence.ts";
import type { Dyno, OneOff } from "./formation.ts";
import { RELEASE_TYPE } from "./plan.ts";
import type { Publication } from "./publication.ts";
import { type AppFormation, type DynoRow, insertDyno, readFormation } from "./rows.ts";
import { sizeName } from "./scaling.ts";

/** One-off dynos of one app at a time (contract, section 4). */
export const ONE_OFFS_AN_APP = 50;
/** An attached one-off waits this long for its client (R13). */
const CLIENT_MS = 30_000;
/** A host opens the stream of a box in this time, its unpacking of the slug included. */
const STREAM_MS = 60_000;
/** A detached one-off ends with the cycling limit: 24 h. */
const LONGEST_SECONDS = 86_400;
/** A release phase runs at most 1 h. */
const PHASE_SECONDS = 3600;
const LONGEST_COMMAND = 64 * 1024;
/** What a one-off is said to have ended with when its host is gone. */
const LOST_STATUS = 137;

interface Parts {
  store: Store;
  hosts: Hosts;
  appLog: AppLog;
  rendezvous: Rendezvous;
  convergence: Convergence;
  publication: Publication;
  /** How long an attached one-off waits for its client, in milliseconds (R13). */
  clientMs?: number;
}

/** One-off dynos: detached, attached to a client, and the release phase. */
export class OneOffs {
  #parts: Parts;
  #ends = new Map<string, (status: number) => void>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** True while someone waits for this one-off's end. */
  awaits(dyno: string): boolean {
    return this.#ends.has(dyno);
  }

  /** The host says that a one-off has ended, or is no longer there (null). */
  ended(appId: string, dyno: string, status: number | null): void {
    const end = this.#ends.get(dyno);
    this.#ends.delete(dyno);
    this.#parts.publication.attachments.delete(dyno);
    // Whoever waits finds it gone from the list of dynos too.
    void this.#forget(appId, dyno).then(() => end?.(status ?? LOST_STATUS));
  }

  #forget(appId: string, dyno: string): Promise<void> {
    return this.#parts.convergence.insist(appId, async (tx) => {
      await tx.query("DELETE FROM dynos WHERE id = $1", [dyno]);
    });
  }

  #end(dyno: string): Promise<number> {
    return new Promise((resolve) => this.#ends.set(dyno, resolve));
  }

  /**
   * Makes a one-off. An attached one starts when its client comes.
   * @throws ApiError 422 when there is nothing to run it with, or too many run.
   */
  async run(appId: string, actor: Actor, asked: OneOff): Promise<Dyno> {
    const { store, appLog, convergence } = this.#parts;
    const type = asked.type ?? "run";
    const { row, version } = await convergence.turn(appId, async (tx) => {
      const formation = (await readFormation(tx, appId))!;
      const { current } = formation;
      if (!current?.slugId) throw invalidParams("This app has no slug to run yet; push it first.");
      const running = formation.dynos.filter(({ kind }) => kind === "run").length;
      if (running >= ONE_OFFS_AN_APP) {
        throw new ApiError(
          422,
          "cannot_run_above_limit",
          `This app runs ${running} one-off dynos already; stop one with ps:stop, or wait for one to end.`,
        );
      }
      const id = randomUUID();
      const row = await insertDyno(tx, appId, {
        id,
        releaseId: current.id,
        kind: "run",
        type,
        name: freeName(type, formation.dynos),
        command: commandOf(asked.command, current.processTypes),
        size: asked.size ? sizeName(asked.size) : (formation.wanted.get(type)?.size ?? DEFAULT_SIZE),
        env: store.seal(`dynos.env:${id}`, JSON.stringify(asked.env)),
        timeToLive: Math.min(asked.timeToLive || LONGEST_SECONDS, LONGEST_SECONDS),
        phase: asked.attach ? "queued" : "serving",
        attached: asked.attach,
      });
      return { row, version: current.version };
    });
    appLog.api(appId, `Starting process with command \`${row.command}\` by user ${actor.email}`);
    let attachUrl: string | null = null;
    if (asked.attach) {
      const { url, client } = this.#parts.rendezvous.expect(this.#parts.clientMs ?? CLIENT_MS);
      attachUrl = url;
      appLog.platform(appId, row.name, "Awaiting client");
      client.then(
        (socket) => this.#attach(appId, row, asked, socket),
        () => {
          appLog.platform(appId, row.name, "Error R13 (Attach error) -> Failed to attach to process");
          appLog.platform(appId, row.name, "Process exited");
          void this.#forget(appId, row.id);
        },
      );
    }
    return { ...row, appId, releaseVersion: version, attachUrl };
  }

  /** A client has come for `row`: starts it and joins the two. */
  async #attach(appId: string, row: DynoRow, asked: OneOff, client: net.Socket): Promise<void> {
    const { hosts, appLog, convergence, publication } = this.#parts;
    const stream = hosts.expectStream(STREAM_MS);
    const { terminal, columns, lines } = asked;
    publication.attachments.set(row.id, { stream: stream.id, terminal, columns, lines });
    const status = this.#end(row.id);
    try {
      const ordered = await convergence.turn(appId, async (tx) => {
        const moved = await tx.query("UPDATE dynos SET phase = 'serving', updated_at = now() WHERE id = $1", [
          row.id,
        ]);
        return moved.rowCount === 1;
      });
      if (!ordered) throw new Error("it was stopped before its client came");
      // The stream may never be opened: the dyno then has ended before it ran.
      const socket = await Promise.race([stream.take, status.then(() => null)]);
      if (!socket) throw new Error("it could not start");
      await joinTerminal(client, socket, {
        status: asked.exitStatus ? status : null,
        hangUp: (text) => {
          appLog.platform(appId, row.name, text);
          hosts.signalDyno(row.id, "SIGHUP");
        },
        unheeded: (text) => appLog.platform(appId, row.name, text),
        ended: status,
      });
    } catch (error) {
      stream.cancel();
      client.end(`Error: the dyno did not start: ${(error as Error).message}\r\n`);
      if (this.#ends.has(row.id)) this.ended(appId, row.id, null);
    }
  }

  /**
   * Runs the `release` process type of a pending release and gives each chunk that it prints to `print`.
   * @returns its exit status
   * @throws ApiError 503 when no host is there to run it
   */
  async releasePhase(release: Release, print: (chunk: Buffer) => void): Promise<number> {
    const { hosts, convergence, publication } = this.#parts;
    if (hosts.connected.length === 0) {
      throw unavailable("no_host", "No host is connected to run the release command.");
    }
    const { appId } = release;
    const stream = hosts.expectStream(STREAM_MS);
    const id = randomUUID();
    publication.attachments.set(id, { stream: stream.id, terminal: false, columns: 0, lines: 0 });
    const status = this.#end(id);
    let name = "";
    try {
      await convergence.turn(appId, async (tx) => {
        const formation = (await readFormation(tx, appId))!;
        const { rows } = await tx.query<{ command: string | null }>(
          "SELECT process_types ->> $2 AS command FROM slugs WHERE id = $1",
          [release.slugId, RELEASE_TYPE],
        );
        name = freeName(RELEASE_TYPE, formation.dynos);
        await insertDyno(tx, appId, {
          id,
          releaseId: release.id,
          kind: "release",
          type: RELEASE_TYPE,
          name,
          command: rows[0]!.command!,
          size: formation.wanted.get(RELEASE_TYPE)?.size ?? DEFAULT_SIZE,
          timeToLive: PHASE_SECONDS,
        });
        await tx.query(
          "INSERT INTO formation (app_id, type, size) VALUES ($1, $2, $3) ON CONFLICT (app_id, type) DO NOTHING",
          [appId, RELEASE_TYPE, DEFAULT_SIZE],
        );
      });
      const socket = await Promise.race([stream.take, status.then(() => null)]);
      if (socket) await this.#copyOutput(socket, appId, name, print);
      return await status;
    } catch (error) {
      this.ended(appId, id, null);
      throw error;
    } finally {
      stream.cancel();
    }
  }

  /** Resolves when the dyno's output has ended; each line goes to the app's log too. */
  async #copyOutput(
    socket: net.Socket,
    appId: string,
    name: string,
    print: (chunk: Buffer) => void,
  ): Promise<void> {
    const { appLog } = this.#parts;
    let rest: Buffer<ArrayBufferLike> = Buffer.alloc(0);
    // Nothing will be typed.
    socket.write(Buffer.of(0x04));
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        print(chunk);
        rest = Buffer.concat([rest, chunk]);
        for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
          appLog.output(appId, name, rest.subarray(0, rest[end - 1] === 13 ? end - 1 : end));
          rest = rest.subarray(end + 1);
        }
        if (rest.length >= LINE_BUFFER) {
          appLog.output(appId, name, rest);
          rest = Buffer.alloc(0);
        }
      }
    } catch {
      // The stream broke with its host; the status tells.
    }
    if (rest.length > 0) appLog.output(appId, name, rest);
  }

  /** Nobody waits any longer; the rows tell the next control. */
  close(): void {
    for (const end of this.#ends.values()) end(LOST_STATUS);
    this.#ends.clear();
  }
}

/** A line longer than this is written in pieces. */
const LINE_BUFFER = 10_000;

/** `run.1234`: four digits, so never a formation dyno's name. */
function freeName(type: string, dynos: AppFormation["dynos"]): string {
  const taken = new Set(dynos.map(({ name }) => name));
  for (;;) {
    const name = `${type}.${randomInt(1000, 10_000)}`;
    if (!taken.has(name)) return name;
  }
}

/** A command whose first word is a process type runs that type's command with the rest behind it. */
export function commandOf(command: string, processTypes: Readonly<Record<string, string>>): string {
  const text = command.trim();
  if (!text) throw invalidParams("Say which command to run.");
  if (text.length > LONGEST_COMMAND || text.includes("\0")) {
    throw invalidParams(`The command must be text of at most ${LONGEST_COMMAND} characters, without NUL.`);
  }
  const [first, ...rest] = text.split(" ");
  if (!Object.hasOwn(processTypes, first!)) return text;
  return [processTypes[first!]!, ...rest].join(" ");
}
