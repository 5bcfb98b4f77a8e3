import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { LogSession } from "../wire/log-settings.ts";
import { Session } from "./session.ts";
import { sessionLine } from "./session-line.ts";
import type { Streams } from "./streams.ts";

/** How long a session may be read from, counted from its first opening. */
const OPEN_MS = 3600 * 1000;
const BEAT_MS = 20_000;
/** Clients reading at a time, over all apps; each holds a socket and a little memory. */
const CLIENTS_LIMIT = 1000;
/** Line ids of an event stream are life × this + line: they rise over restarts, whatever a kill took. */
const LIFE_LINES = 2 ** 40;

interface Opened {
  settings: LogSession;
  /** Milliseconds since the epoch. */
  until: number;
}

/** The log sessions: `GET /sessions/<token>` (contract, section 3; heroku-cli, section 4). */
export class Sessions {
  #streams: Streams;
  #file: string;
  #life: number;
  #opened = new Map<string, Opened>();
  #clients = new Map<Session, { token: string; events: boolean }>();
  #beat: NodeJS.Timeout;

  /**
   * @param file where opened sessions are kept, so that they go on over a restart
   * @param life number of this start, higher than every one before
   */
  constructor(streams: Streams, file: string, life: number) {
    this.#streams = streams;
    this.#file = file;
    this.#life = life;
    try {
      for (const opened of JSON.parse(readFileSync(file, "utf8")) as Opened[]) {
        this.#opened.set(opened.settings.token, opened);
      }
    } catch {
      // No session was open, or the file was cut short: clients ask for a new session.
    }
    this.#beat = setInterval(() => this.#tick(), BEAT_MS);
  }

  /** Answers one request for the session `token`. */
  serve(token: string, request: IncomingMessage, response: ServerResponse): void {
    const opened = this.#open(token);
    const stream = opened && this.#streams.get(opened.settings.app);
    if (!opened || !stream) {
      const text = "There is no such log session, or it has expired; ask for a new one with `sluice logs`.\n";
      response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end(text);
      return;
    }
    if (this.#clients.size >= CLIENTS_LIMIT) {
      const text = `${CLIENTS_LIMIT} clients are reading logs, which is the most; try again later.\n`;
      response.writeHead(503, { "content-type": "text/plain; charset=utf-8", "retry-after": "30" }).end(text);
      return;
    }
    const events = (request.headers.accept ?? "").includes("text/event-stream");
    response.writeHead(200, {
      "content-type": events ? "text/event-stream" : "text/plain; charset=utf-8",
      "cache-control": "no-cache",
      connection: "close",
    });
    response.flushHeaders();
    const from = events ? this.#from(request.headers["last-event-id"], stream.startedAt) : null;
    const line = sessionLine(
      this.#streams.names,
      events ? (number) => this.#life * LIFE_LINES + number : null,
    );
    const session = new Session(opened.settings, stream, this.#streams.names, line, response, from);
    if (response.writableEnded) return;
    this.#clients.set(session, { token, events });
    response.on("close", () => this.#clients.delete(session));
  }

  #open(token: string): Opened | null {
    const now = Date.now();
    const known = this.#opened.get(token);
    if (known) return known.until > now ? known : null;
    const settings = this.#streams.session(token);
    if (!settings || settings.expires <= now) return null;
    const opened = { settings, until: now + OPEN_MS };
    this.#opened.set(token, opened);
    this.#save();
    return opened;
  }

  /** The line after the one that a client has seen last; null when it has seen none. */
  #from(lastEventId: string | string[] | undefined, startedAt: number): number | null {
    const id = Number(lastEventId);
    if (typeof lastEventId !== "string" || lastEventId === "" || !Number.isSafeInteger(id) || id < 0)
      return null;
    const line = (id % LIFE_LINES) + 1;
    // Seen in an earlier life: what a kill took has no number here, so it goes on with what came after.
    return Math.floor(id / LIFE_LINES) === this.#life ? line : Math.min(line, startedAt);
  }

  #tick(): void {
    const now = Date.now();
    let gone = false;
    for (const [token, { until }] of this.#opened) {
      if (until > now) continue;
      this.#opened.delete(token);
      gone = true;
    }
    if (gone) this.#save();
    for (const [session, { token, events }] of this.#clients) {
      if (!this.#opened.has(token)) session.end();
      else if (events) session.beat();
    }
  }

  #save(): void {
    try {
      writeFileSync(`${this.#file}~`, JSON.stringify([...this.#opened.values()]), { mode: 0o600 });
      renameSync(`${this.#file}~`, this.#file);
    } catch {
      // A full disk costs only the sessions that a restart would have kept.
    }
  }

  close(): void {
    clearInterval(this.#beat);
    for (const session of this.#clients.keys()) session.end();
  }
}
