import type { ServerResponse } from "node:http";
import type { LogSession } from "../wire/log-settings.ts";
import { SOURCES } from "../wire/source.ts";
import type { AppStream, Follower } from "./app-stream.ts";
import type { ProcessNames } from "./process-names.ts";
import { RingReader } from "./reader.ts";
import type { SessionLine } from "./session-line.ts";
import { nowMicros, stampText } from "./time-stamp.ts";

/** Lines that wait for a slow client at most (contract, section 3). */
export const SESSION_BUFFER = 1024;
/** Bytes rendered before the socket is asked again whether it takes more. */
const CHUNK_BYTES = 32 * 1024;

/** True when `name` is `wanted`, or a process of that type: `web` covers `web.1`. */
export function coversProcess(wanted: string, name: string): boolean {
  if (!name.startsWith(wanted)) return false;
  return name.length === wanted.length || name[wanted.length] === ".";
}

/** One client of a log session: history first, then, with `tail`, lines as they come, from one cut on. */
export class Session implements Follower {
  #settings: LogSession;
  #stream: AppStream;
  #names: ProcessNames;
  #line: SessionLine;
  #response: ServerResponse;
  #reader: RingReader;
  #ended = false;

  /** @param from number of the first line to show; null: the last `lines` of the history. */
  constructor(
    settings: LogSession,
    stream: AppStream,
    names: ProcessNames,
    line: SessionLine,
    response: ServerResponse,
    from: number | null,
  ) {
    this.#settings = settings;
    this.#stream = stream;
    this.#names = names;
    this.#line = line;
    this.#response = response;
    stream.expire();
    // History and live lines are the same ring read on: there is no instant between them.
    const { ring } = stream;
    const lines = Math.min(settings.lines, stream.lines);
    // A client that comes back too late is told what it missed; history that is gone was never promised.
    const start = from === null ? Math.max(ring.first, ring.next - lines) : Math.min(from, ring.next);
    this.#reader = new RingReader(ring, SESSION_BUFFER, start, ring.next);
    response.on("drain", () => this.wake());
    response.on("close", () => this.end());
    if (settings.tail) stream.followers.add(this);
    this.wake();
  }

  /** Lines that this session was told it lost, or will be. */
  get lost(): number {
    return this.#reader.lostEver;
  }

  wake(): void {
    const reader = this.#reader;
    const last = this.#settings.tail ? Number.POSITIVE_INFINITY : reader.live;
    reader.settle();
    while (!this.#ended && !this.#response.writableNeedDrain) {
      const loss = reader.takeLoss();
      if (loss) {
        const text = `Error L11 (Tail buffer overflow) -> This tail session dropped ${loss.count} messages since ${stampText(loss.since)}.`;
        this.#response.write(this.#line.own(text, nowMicros()));
      }
      const end = Math.min(reader.ring.next, last);
      if (reader.cursor >= end) break;
      this.#write(end);
    }
    if (reader.cursor >= last) this.end();
  }

  /** Renders lines before `end` into one chunk. */
  #write(end: number): void {
    const reader = this.#reader;
    const { ring } = reader;
    let chunk: Buffer | null = null;
    let at = 0;
    while (reader.cursor < end) {
      if (this.#shows(reader.cursor)) {
        const most = this.#line.most(ring, reader.cursor);
        chunk ??= Buffer.allocUnsafe(Math.max(CHUNK_BYTES, most));
        if (at + most > chunk.length) break;
        at = this.#line.write(ring, reader.cursor, chunk, at);
      }
      reader.cursor += 1;
    }
    if (chunk && at > 0) this.#response.write(chunk.subarray(0, at));
  }

  #shows(line: number): boolean {
    const { source, dyno } = this.#settings;
    const { ring } = this.#reader;
    if (source !== null && SOURCES[ring.source(line)]!.appName !== source) return false;
    return dyno === null || coversProcess(dyno, this.#names.name(ring.process(line)));
  }

  /** Keeps the connection of an event stream from looking dead. */
  beat(): void {
    if (!this.#ended && !this.#response.writableNeedDrain) this.#response.write(":\n\n");
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.followers.delete(this);
    this.#response.end();
  }
}
