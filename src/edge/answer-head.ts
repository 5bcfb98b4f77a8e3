import { type ErrorCode, H17, H25_COOKIE, H25_HEADER, H25_LENGTH, H25_STATUS } from "./codes.ts";
import { ANSWER_HEAD_LIMIT, ANSWER_LINE_LIMIT, COOKIE_LIMIT, STATUS_LINE_LIMIT } from "./limits.ts";

/** What `AnswerHead.read` found. */
export const INCOMPLETE = -1;
export const BROKEN = -2;

const CR = 13;
const LF = 10;
const COLON = 58;
const SPACE = 32;
const TAB = 9;

/** Header names that are looked at, by length, in lower case. */
const NAMES = [
  "via",
  "date",
  "server",
  "upgrade",
  "trailer",
  "te",
  "connection",
  "keep-alive",
  "set-cookie",
  "content-length",
  "transfer-encoding",
  "proxy-connection",
  "proxy-authorization",
  "sec-websocket-accept",
  "sec-websocket-protocol",
  "sec-websocket-extensions",
] as const;
type Name = (typeof NAMES)[number];
const BY_LENGTH: { name: Name; bytes: Buffer }[][] = [];
for (const name of NAMES) {
  const list = BY_LENGTH[name.length] ?? [];
  list.push({ name, bytes: Buffer.from(name) });
  BY_LENGTH[name.length] = list;
}

/** The name in `buffer` from `start`, when it is one that is looked at. */
function known(buffer: Buffer, start: number, length: number): Name | null {
  const list = BY_LENGTH[length];
  if (list === undefined) return null;
  next: for (const candidate of list) {
    const bytes = candidate.bytes;
    for (let i = 0; i < length; i++) {
      // Letters differ from their capitals by one bit, which `-` has already.
      if ((buffer[start + i]! | 32) !== bytes[i]) continue next;
    }
    return candidate.name;
  }
  return null;
}

/** Up to so many bytes a loop copies faster than a call. */
const SHORT_RUN = 256;

/** First size of the copy; it grows for the rare long head. */
const COPY_SIZE = 16 * 1024;

/**
 * Reads the head of a dyno's answer from bytes (RFC 9112, section 4 and 5) and copies, in runs, what goes to
 * the client: status and reason, and every field but the hop-by-hop ones, the framing and Date, which the front
 * writes itself. One instance a worker: the result holds until the next `read`.
 */
export class AnswerHead {
  status = 0;
  /** Content-Length; -1 when there is none. */
  length = -1;
  chunked = false;
  /** False when the dyno closes the connection after this answer. */
  keepAlive = true;
  hasServer = false;
  upgrade = false;
  webSocketProtocol = "";
  problem: ErrorCode | null = null;
  /** `200 OK\r\nName: value\r\n…`, the last line without CRLF, in `copy` up to `copied`. */
  copy = Buffer.allocUnsafe(COPY_SIZE);
  copied = 0;

  /**
   * Reads from `start` to `end`. Returns where the body begins, INCOMPLETE when the head is cut, or BROKEN with
   * `problem` set.
   */
  read(buffer: Buffer, start: number, end: number): number {
    this.status = 0;
    this.length = -1;
    this.chunked = false;
    this.hasServer = false;
    this.upgrade = false;
    this.webSocketProtocol = "";
    this.problem = null;
    this.copied = 0;
    const first = this.#statusLine(buffer, start, end);
    if (first < 0) return first;
    let lineStart = first;
    // Everything from `run` to the current line goes to the client in one copy.
    let run = start + 9;
    for (;;) {
      let at = lineStart;
      let colon = -1;
      while (at < end) {
        const byte = buffer[at]!;
        if (byte === LF) break;
        if (byte === COLON && colon < 0) colon = at;
        at++;
      }
      if (at === end) return this.#cut(end - lineStart, end - start);
      if (at === lineStart || buffer[at - 1] !== CR) return this.#fail(H17);
      const lineEnd = at - 1;
      if (lineEnd === lineStart) {
        // The CRLF before the empty line is the front's to write.
        this.#copyRun(buffer, run, lineStart - 2);
        return at + 1;
      }
      if (lineEnd - lineStart > ANSWER_LINE_LIMIT) return this.#fail(H25_HEADER);
      // No folding, no space before the colon: both have been used to smuggle.
      if (colon <= lineStart || colon > lineEnd) return this.#fail(H17);
      const lead = buffer[lineStart]!;
      if (lead === SPACE || lead === TAB || buffer[colon - 1] === SPACE || buffer[colon - 1] === TAB) {
        return this.#fail(H17);
      }
      const name = known(buffer, lineStart, colon - lineStart);
      if (name !== null) {
        const kept = this.#field(name, buffer, colon + 1, lineEnd);
        if (this.problem !== null) return BROKEN;
        if (!kept) {
          this.#copyRun(buffer, run, lineStart - 2);
          run = lineEnd;
        }
      }
      lineStart = at + 1;
    }
  }

  /** Reads `HTTP/1.1 200 OK`; returns where the next line starts. */
  #statusLine(buffer: Buffer, start: number, end: number): number {
    const length = Math.min(end - start, STATUS_LINE_LIMIT + 2);
    let at = start;
    const limit = start + length;
    while (at < limit && buffer[at] !== LF) at++;
    if (at - start >= 7 && !isVersion(buffer, start)) return this.#fail(H17);
    if (at === limit) return length > STATUS_LINE_LIMIT ? this.#fail(H25_STATUS) : INCOMPLETE;
    // HTTP/1.x SP 3DIGIT SP reason CR LF
    if (
      at - start < 15 ||
      buffer[at - 1] !== CR ||
      buffer[start + 8] !== SPACE ||
      buffer[start + 12] !== SPACE
    ) {
      return this.#fail(H17);
    }
    let status = 0;
    for (let i = start + 9; i < start + 12; i++) {
      const digit = buffer[i]! - 48;
      if (digit < 0 || digit > 9) return this.#fail(H17);
      status = status * 10 + digit;
    }
    if (status < 100) return this.#fail(H17);
    this.status = status;
    this.keepAlive = buffer[start + 7] === 49;
    return at + 1;
  }

  /** Takes in a field that is looked at; true when it goes to the client too. */
  #field(name: Name, buffer: Buffer, from: number, lineEnd: number): boolean {
    switch (name) {
      case "content-length": {
        const length = wholeNumber(buffer, from, lineEnd);
        if (length < 0 || (this.length >= 0 && this.length !== length)) this.problem = H25_LENGTH;
        this.length = length;
        return false;
      }
      case "transfer-encoding": {
        const value = is(buffer, from, lineEnd, CHUNKED)
          ? "chunked"
          : text(buffer, from, lineEnd).toLowerCase();
        if (value === "chunked" && !this.chunked) this.chunked = true;
        else if (value !== "identity") this.problem = H17;
        return false;
      }
      case "connection": {
        if (is(buffer, from, lineEnd, KEEP_ALIVE)) {
          this.keepAlive = true;
          return false;
        }
        const value = text(buffer, from, lineEnd).toLowerCase();
        if (value.includes("close")) this.keepAlive = false;
        else if (value.includes("keep-alive")) this.keepAlive = true;
        return false;
      }
      case "set-cookie":
        if (lineEnd - from > COOKIE_LIMIT) this.problem = H25_COOKIE;
        return true;
      case "server":
        this.hasServer = true;
        return true;
      case "upgrade":
        this.upgrade = true;
        return this.status !== 101;
      case "sec-websocket-protocol":
        this.webSocketProtocol = text(buffer, from, lineEnd);
        return false;
      case "via":
        return true;
      default:
        return false;
    }
  }

  #fail(problem: ErrorCode): number {
    this.problem = problem;
    return BROKEN;
  }

  #cut(line: number, head: number): number {
    return line > ANSWER_LINE_LIMIT || head > ANSWER_HEAD_LIMIT ? this.#fail(H25_HEADER) : INCOMPLETE;
  }

  #copyRun(buffer: Buffer, from: number, to: number): void {
    if (to <= from) return;
    this.#room(to - from);
    if (to - from > SHORT_RUN) {
      this.copied += buffer.copy(this.copy, this.copied, from, to);
      return;
    }
    const copy = this.copy;
    let at = this.copied;
    for (let i = from; i < to; i++) copy[at++] = buffer[i]!;
    this.copied = at;
  }

  #room(more: number): void {
    if (this.copied + more <= this.copy.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.copy.length * 2, this.copied + more));
    this.copy.copy(grown, 0, 0, this.copied);
    this.copy = grown;
  }

  /** What has been copied; valid until the next `read`. */
  get lines(): Uint8Array {
    return new Uint8Array(this.copy.buffer, this.copy.byteOffset, this.copied);
  }

  /** Adds lines of the edge's own that are the same for every answer. */
  appendBytes(lines: Buffer): void {
    this.#copyRun(lines, 0, lines.length);
  }

  /** Adds lines of the edge's own: `\r\nName: value`, ASCII. */
  append(lines: string): void {
    this.#room(lines.length);
    this.copied += this.copy.write(lines, this.copied, "latin1");
  }

  /** Gives the copy's memory back after an unusually long head. */
  shrink(): void {
    if (this.copy.length > COPY_SIZE * 4) this.copy = Buffer.allocUnsafe(COPY_SIZE);
  }
}

const KEEP_ALIVE = Buffer.from("keep-alive");
const CHUNKED = Buffer.from("chunked");

/** Whether the bytes, but for one space before them, are `value`, in whatever case; `value` is in lower case. */
function is(buffer: Buffer, from: number, to: number, value: Buffer): boolean {
  const start = buffer[from] === SPACE ? from + 1 : from;
  if (to - start !== value.length) return false;
  for (let i = 0; i < value.length; i++) {
    // Letters differ from their capitals by one bit, which `-` has already.
    if ((buffer[start + i]! | 32) !== value[i]) return false;
  }
  return true;
}

/** `HTTP/1.` in ASCII. */
const VERSION = [72, 84, 84, 80, 47, 49, 46];

function isVersion(buffer: Buffer, at: number): boolean {
  for (let i = 0; i < 7; i++) if (buffer[at + i] !== VERSION[i]) return false;
  return true;
}

function text(buffer: Buffer, from: number, to: number): string {
  return buffer.toString("latin1", from, to).trim();
}

/** The decimal number in the bytes, white space around it allowed; -1 when it is none. */
function wholeNumber(buffer: Buffer, from: number, to: number): number {
  let at = from;
  let last = to;
  while (at < last && (buffer[at] === SPACE || buffer[at] === TAB)) at++;
  while (last > at && (buffer[last - 1] === SPACE || buffer[last - 1] === TAB)) last--;
  if (at === last || last - at > 15) return -1;
  let number = 0;
  for (; at < last; at++) {
    const digit = buffer[at]! - 48;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}
