import { LINE_LIMIT, Source } from "../../wire/source.ts";
import type { AppStream } from "../app-stream.ts";
import type { Streams, TokenSource } from "../streams.ts";
import { nowMicros } from "../time-stamp.ts";
import { OctetFramer } from "./framer.ts";
import { parseStamp, SyslogMessage } from "./syslog-message.ts";

/** A sender's clock is believed this far from ours (microseconds); else the time is that of arrival. */
const CLOCK_SLACK = 24 * 3600 * 1e6;
/** Bytes of a process name that an outside sender may choose. */
const NAME_LIMIT = 64;
const NEWLINE = 10;
const DASH = 45;
/** Followers are woken at least this often: below a reader's buffer, so one that keeps up loses nothing. */
const WAKE_LINES = 512;

/** What came in from outside, over all connections. */
export interface OutsideCounts {
  taken: number;
  /** Messages that were no syslog, and streams that broke their framing. */
  malformed: number;
  /** Messages whose token nobody has. */
  unknown: number;
  /** Told of lines that stand in a ring, so that their loss by a kill can be told. */
  onTaken: (stream: AppStream, lines: number) => void;
}

/**
 * Messages of outside log sources on one connection. The line's source is always Outside, shown as
 * `app[<procid or source name>]`: a token can never speak as `heroku`.
 */
export class OutsideStream {
  #streams: Streams;
  #counts: OutsideCounts;
  #framer = new OctetFramer((bytes, from, to) => this.#message(bytes, from, to));
  #fields = new SyslogMessage();
  /** Set when the connection has proved its token; else each message carries one. */
  #fixed: TokenSource | null;
  #now = 0;
  #last: TokenSource | null = null;
  #lastToken = Buffer.alloc(0);
  #lastName = Buffer.alloc(0);
  #lastProcess = -1;
  #unwoken = 0;
  #stream: AppStream | null = null;
  /** Messages of this connection that were malformed or had no known token. */
  bad = 0;
  taken = 0;

  constructor(streams: Streams, counts: OutsideCounts, fixed: TokenSource | null) {
    this.#streams = streams;
    this.#counts = counts;
    this.#fixed = fixed;
  }

  /** True when the input ends within a message. */
  get cut(): boolean {
    return this.#framer.cut;
  }

  /** Takes one chunk; false when the stream is not framed as it must be: close it. */
  push(chunk: Buffer): boolean {
    this.#now = nowMicros();
    // The settings may have changed, and names may have been swept, since the last chunk.
    this.#last = null;
    this.#lastProcess = -1;
    const framed = this.#framer.push(chunk);
    if (!framed) this.broken();
    this.#wake();
    return framed;
  }

  /** Counts a stream that broke off. */
  broken(): void {
    this.#counts.malformed += 1;
    this.bad += 1;
  }

  #wake(): void {
    const lines = this.#unwoken;
    if (lines === 0 || !this.#stream) return;
    this.#unwoken = 0;
    this.#counts.onTaken(this.#stream, lines);
    this.#stream.wake();
  }

  #message(bytes: Buffer, from: number, to: number): void {
    const message = this.#fields;
    if (!message.parse(bytes, from, to)) {
      this.broken();
      return;
    }
    const source = this.#fixed ?? this.#sourceOf(bytes, message);
    if (!source) {
      this.#counts.unknown += 1;
      this.bad += 1;
      return;
    }
    if (source.stream !== this.#stream) {
      this.#wake();
      this.#stream = source.stream;
    }
    const process = this.#process(bytes, message, source);
    const micros = this.#micros(bytes, message);
    let at = message.textFrom;
    // A line break inside would let a sender feign other lines: each part is a line of its own.
    do {
      let end = bytes.indexOf(NEWLINE, at);
      if (end < 0 || end > message.textTo) end = message.textTo;
      this.#line(source.stream, process, micros, bytes, at, end);
      at = end + 1;
    } while (at < message.textTo);
  }

  #line(stream: AppStream, process: number, micros: number, bytes: Buffer, from: number, to: number): void {
    let at = from;
    do {
      const end = Math.min(to, at + LINE_LIMIT);
      const { ring } = stream;
      const text = ring.begin(process, Source.Outside, micros, end - at);
      if (end - at < 48) for (let i = 0; i < end - at; i += 1) ring.bytes[text + i] = bytes[at + i]!;
      else ring.bytes.set(bytes.subarray(at, end), text);
      this.taken += 1;
      this.#counts.taken += 1;
      this.#unwoken += 1;
      if (this.#unwoken >= WAKE_LINES) this.#wake();
      at = end;
    } while (at < to);
  }

  #sourceOf(bytes: Buffer, { appFrom, appTo }: SyslogMessage): TokenSource | null {
    const last = this.#lastToken;
    if (this.#last && same(last, bytes, appFrom, appTo)) return this.#last;
    const token = bytes.toString("latin1", appFrom, appTo);
    this.#last = this.#streams.byToken(token) ?? null;
    this.#lastToken = Buffer.from(bytes.subarray(appFrom, appTo));
    this.#lastProcess = -1;
    return this.#last;
  }

  #process(bytes: Buffer, { procFrom, procTo }: SyslogMessage, source: TokenSource): number {
    if (this.#lastProcess >= 0 && same(this.#lastName, bytes, procFrom, procTo)) return this.#lastProcess;
    this.#lastName = Buffer.from(bytes.subarray(procFrom, procTo));
    const nil = procTo - procFrom === 1 && bytes[procFrom] === DASH;
    // The brackets around a name must stay its only ones.
    const given = bytes.toString("utf8", procFrom, Math.min(procTo, procFrom + NAME_LIMIT));
    const name = nil ? source.name : given.replace(/[^\x21-\x5a\x5e-\x7e]/g, "_");
    this.#lastProcess = this.#streams.names.id(name);
    return this.#lastProcess;
  }

  #micros(bytes: Buffer, { timeFrom, timeTo }: SyslogMessage): number {
    const micros = parseStamp(bytes, timeFrom, timeTo);
    return Math.abs(micros - this.#now) < CLOCK_SLACK ? micros : this.#now;
  }
}

function same(known: Buffer, bytes: Buffer, from: number, to: number): boolean {
  if (known.length !== to - from) return false;
  for (let i = 0; i < known.length; i += 1) if (known[i] !== bytes[from + i]) return false;
  return true;
}
