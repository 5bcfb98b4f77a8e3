import net from "node:net";
import { AnswerHead, BROKEN, INCOMPLETE } from "./answer-head.ts";
import { ChunkedReader } from "./chunked.ts";
import { type Clock, readTime, Timed, time } from "./clock.ts";
import type { ErrorCode } from "./codes.ts";
import type { Dyno } from "./dyno.ts";
import { ANSWER_LINE_LIMIT, LATE_ANSWER_LIMIT, READ_BUFFER } from "./limits.ts";

/** What a dyno connection tells the exchange that holds it. Bytes are valid during the call. */
export interface DynoUser {
  dynoConnected(): void;
  /** No connection was made; `code` is the system's (`ECONNREFUSED`). */
  dynoUnreachable(code: string): void;
  /** Runs `work` with the client corked. */
  cork(work: () => void): void;
  /** True when the answer to this request has no body by its method. */
  readonly bodiless: boolean;
  /** The whole head; `first` holds the body's first bytes. `length` is the body's, or -1 for unknown. */
  dynoHead(head: AnswerHead, length: number, first: Uint8Array | null): void;
  dynoBody(chunk: Buffer): void;
  /** The answer is complete; the exchange calls `release`. */
  dynoEnd(): void;
  /** Raw bytes behind a 101. */
  dynoTunnel(bytes: Buffer): void;
  /** The answer breaks the rules. */
  dynoBroken(problem: ErrorCode | null): void;
  /** The dyno closed or reset before the answer's end; `any` tells whether a byte had come. */
  dynoClosed(any: boolean): void;
  /** The dyno takes bytes again. */
  dynoDrain(): void;
}

const Reading = { Head: 0, Length: 1, Chunked: 2, Close: 3, Tunnel: 4, Done: 5 } as const;
type Reading = (typeof Reading)[keyof typeof Reading];

/** One read buffer and one head for the whole worker: reads are handled one after the other. */
const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER);
const head = new AnswerHead();

/** One TCP connection to a dyno, used by one exchange after the other. Scans answers as the bytes come. */
export class DynoConnection extends Timed {
  readonly dyno: Dyno;
  readonly socket: net.Socket;
  /** Has served a request before. */
  reused = false;
  connected = false;
  idleSince = 0;
  user: DynoUser | null;
  #reading: Reading = Reading.Done;
  #remaining = 0;
  #chunks: ChunkedReader | null = null;
  /** The part of a head that earlier reads brought. */
  #partial: Buffer | null = null;
  #filled = 0;
  #any = false;
  #keepAlive = true;
  #data: Buffer = readBuffer;
  #end = 0;
  #destroyed = false;
  /** Bytes of a late answer that may still come. */
  #late = 0;
  #run: () => void;

  constructor(dyno: Dyno, user: DynoUser) {
    super();
    this.dyno = dyno;
    this.user = user;
    this.#run = () => this.#read();
    this.socket = net.connect({
      host: dyno.address,
      port: dyno.port,
      noDelay: true,
      onread: { buffer: readBuffer, callback: (bytes, buffer) => this.#onRead(bytes, buffer as Buffer) },
    });
    this.socket.on("connect", () => {
      readTime();
      this.connected = true;
      this.user?.dynoConnected();
    });
    this.socket.on("error", (error: NodeJS.ErrnoException) => this.#lost(error.code ?? "error"));
    this.socket.on("end", () => this.#lost("end"));
    this.socket.on("close", () => this.#lost("close"));
    this.socket.on("drain", () => {
      readTime();
      this.user?.dynoDrain();
    });
  }

  /** Makes the connection ready for the next request of `user`. */
  use(user: DynoUser): void {
    this.clock?.stop(this);
    this.user = user;
    this.#reading = Reading.Head;
    this.#any = false;
    this.#filled = 0;
  }

  /** True when the answer to the last request has been read to its end and more may follow. */
  get reusable(): boolean {
    return this.#reading === Reading.Done && this.#keepAlive && !this.#destroyed;
  }

  /** Gives the connection to the pool, or closes it. The user hears nothing more. */
  release(reusable: boolean, idle: Clock): void {
    this.user = null;
    if (!reusable || !this.reusable || !this.dyno.keep(this)) {
      this.destroy();
      return;
    }
    this.reused = true;
    this.idleSince = time.now;
    idle.start(this);
  }

  /**
   * The user has given up waiting (H12). The dyno is not told: what it still answers is read and dropped, for
   * the time of `late` and up to LATE_ANSWER_LIMIT bytes. The user hears nothing more.
   */
  giveUp(late: Clock): void {
    this.user = null;
    this.#late = LATE_ANSWER_LIMIT;
    late.start(this);
  }

  override expired(): void {
    this.dyno.forget(this);
    this.destroy();
  }

  destroy(): void {
    this.user = null;
    this.#destroyed = true;
    this.clock?.stop(this);
    this.socket.destroy();
  }

  /** Closes behind what has been written. */
  closeSoon(): void {
    this.user = null;
    this.#destroyed = true;
    this.socket.destroySoon();
  }

  #onRead(bytes: number, buffer: Buffer): boolean {
    readTime();
    const user = this.user;
    if (user === null) {
      if (this.#late > bytes) {
        this.#late -= bytes;
        return true;
      }
      // Bytes that nobody asked for: the next answer could not be trusted.
      if (!this.#destroyed) this.expired();
      return true;
    }
    this.#any = true;
    this.#data = buffer;
    this.#end = bytes;
    user.cork(this.#run);
    return true;
  }

  #read(): void {
    let data = this.#data;
    let at = 0;
    let end = this.#end;
    while (this.#reading === Reading.Head) {
      if (this.#filled > 0) {
        // Rare: the head came in pieces. It is read again from its start once its end is there.
        const before = this.#filled;
        data = this.#join(data, at, end);
        at = 0;
        end = this.#filled;
        const ended = data.subarray(Math.max(0, before - 3), end).includes("\r\n\r\n");
        if (!ended && end < ANSWER_LINE_LIMIT) return;
      }
      const body = head.read(data, at, end);
      if (body === INCOMPLETE) {
        if (this.#filled === 0) this.#join(data, at, end);
        return;
      }
      this.#filled = 0;
      this.#partial = null;
      if (body === BROKEN) {
        this.#broken(head.problem);
        return;
      }
      at = body;
      if (head.status < 200 && head.status !== 101) {
        // 100 has been said by the front, others are hints; the answer is still to come.
        if (at === end) return;
        continue;
      }
      at = this.#begin(data, at, end);
    }
    if (at < end) this.#body(data, at, end);
  }

  /** Appends bytes to the partial head; returns the buffer that holds it, `#filled` bytes long. */
  #join(data: Buffer, at: number, end: number): Buffer {
    const need = this.#filled + end - at;
    if (this.#partial === null || this.#partial.length < need) {
      const grown = Buffer.allocUnsafe(Math.max(need, (this.#partial?.length ?? 2048) * 2));
      this.#partial?.copy(grown, 0, 0, this.#filled);
      this.#partial = grown;
    }
    data.copy(this.#partial, this.#filled, at, end);
    this.#filled = need;
    return this.#partial;
  }

  /** The head is whole: decides the framing (RFC 9112, section 6.3), tells the user, returns where to read on. */
  #begin(data: Buffer, at: number, end: number): number {
    const user = this.user!;
    this.#keepAlive = head.keepAlive;
    if (head.status === 101) {
      this.#reading = Reading.Tunnel;
      user.dynoHead(head, 0, null);
      return at;
    }
    if (user.bodiless || head.status === 204 || head.status === 304) {
      this.#reading = Reading.Done;
      // A body behind a bodiless answer would be taken for the next one.
      if (at < end) this.#keepAlive = false;
      user.dynoHead(head, head.length, null);
      this.user?.dynoEnd();
      return end;
    }
    if (head.chunked) {
      this.#reading = Reading.Chunked;
      this.#chunks = new ChunkedReader();
      user.dynoHead(head, -1, null);
      return at;
    }
    if (head.length >= 0) {
      const stop = Math.min(end, at + head.length);
      this.#remaining = head.length - (stop - at);
      this.#reading = this.#remaining === 0 ? Reading.Done : Reading.Length;
      if (stop < end) this.#keepAlive = false;
      user.dynoHead(head, head.length, new Uint8Array(data.buffer, data.byteOffset + at, stop - at));
      if (this.#remaining === 0) this.user?.dynoEnd();
      return end;
    }
    this.#reading = Reading.Close;
    this.#keepAlive = false;
    user.dynoHead(head, -1, null);
    return at;
  }

  #body(data: Buffer, start: number, end: number): void {
    switch (this.#reading) {
      case Reading.Length: {
        const stop = Math.min(end, start + this.#remaining);
        this.#remaining -= stop - start;
        if (stop < end) this.#keepAlive = false;
        const last = this.#remaining === 0;
        if (last) this.#reading = Reading.Done;
        this.user?.dynoBody(data.subarray(start, stop));
        if (last) this.user?.dynoEnd();
        return;
      }
      case Reading.Chunked:
        this.#chunked(data, start, end);
        return;
      case Reading.Close:
        return void this.user?.dynoBody(data.subarray(start, end));
      case Reading.Tunnel:
        return void this.user?.dynoTunnel(data.subarray(start, end));
      default:
        // More than the answer said.
        this.#keepAlive = false;
    }
  }

  #chunked(data: Buffer, start: number, end: number): void {
    const chunks = this.#chunks!;
    let at = start;
    while (at < end && !chunks.done && !chunks.broken) {
      at = chunks.read(data, at, end);
      if (chunks.to > chunks.from) this.user?.dynoBody(data.subarray(chunks.from, chunks.to));
    }
    if (chunks.broken) {
      this.#broken(null);
      return;
    }
    if (chunks.done) {
      if (at < end) this.#keepAlive = false;
      this.#reading = Reading.Done;
      this.#chunks = null;
      this.user?.dynoEnd();
    }
  }

  #broken(problem: ErrorCode | null): void {
    const user = this.user;
    this.destroy();
    user?.dynoBroken(problem);
  }

  #lost(code: string): void {
    if (this.#destroyed) return;
    readTime();
    const user = this.user;
    const reading = this.#reading;
    if (user === null) this.dyno.forget(this);
    this.destroy();
    if (user === null) return;
    if (!this.connected) {
      user.dynoUnreachable(code);
      return;
    }
    // A body without a length ends with the connection, if that was closed in order.
    if (reading === Reading.Close && code === "end") {
      this.#reading = Reading.Done;
      user.dynoEnd();
      return;
    }
    user.dynoClosed(this.#any);
  }
}
