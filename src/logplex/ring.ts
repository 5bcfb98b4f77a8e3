import {
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../wire/log-batch.ts";
import { LINE_LIMIT, type Source } from "../wire/source.ts";

/*
 * The last lines of one app, stored once, as the records of a log batch (src/wire/log-batch.ts) in one buffer.
 *
 *   bytes    | 7 . . . . | 8 . . | 9 . . . . . . |  free  | 5 . . . . | 6 . . |~| <- too short for line 7: left out
 *            ^0                                  ^head             capacity ^
 *   starts   [ 8:pos | 9:pos |  -  |  -  | 5:pos | 6:pos | 7:pos ]    slot of line n: n & mask
 *                                          ^first                     lines first … next-1 are held
 *
 * A line's number never comes twice in the life of the app. Positions count on for ever; a position's place
 * in `bytes` is its rest by the capacity. A record is never cut by the end, so a reader sees it in one piece.
 * What the head runs over is the oldest. Both arrays begin small and double up to the bounds, so that a
 * thousand idle apps cost little.
 */

const FIRST_CAPACITY = 16 * 1024;
const FIRST_SLOTS = 64;
/** The least byte bound: a longest line and its head fit with room. */
const LEAST_CAPACITY = 32 * 1024;
/** What `take` answers when the records are broken. */
export const BROKEN = -1;

export class Ring {
  bytes: Buffer<ArrayBuffer>;
  view: DataView;
  #capacity: number;
  #starts: Float64Array;
  #mask: number;
  #head = 0;
  #maxLines: number;
  #maxBytes: number;
  /** Number of the oldest line held. */
  first: number;
  /** Number that the next line gets. */
  next: number;
  /** Lines that `take` left out because their source was not allowed there. */
  refused = 0;

  /**
   * @param maxLines lines kept at most
   * @param maxBytes bytes kept at most, record heads included
   * @param next number of the first line
   */
  constructor(maxLines: number, maxBytes: number, next = 0) {
    this.#maxLines = Math.max(1, maxLines);
    this.#maxBytes = Math.max(LEAST_CAPACITY, maxBytes);
    this.#capacity = Math.min(FIRST_CAPACITY, this.#maxBytes);
    this.bytes = Buffer.allocUnsafeSlow(this.#capacity);
    this.view = new DataView(this.bytes.buffer);
    this.#starts = new Float64Array(FIRST_SLOTS);
    this.#mask = FIRST_SLOTS - 1;
    this.first = next;
    this.next = next;
  }

  get maxLines(): number {
    return this.#maxLines;
  }

  /** Bytes that the lines held take. */
  get size(): number {
    return this.#head - this.#oldest;
  }

  /** Forgets every line; the next one gets the number `next`. */
  startAt(next: number): void {
    this.first = next;
    this.next = next;
  }

  /** Changes the bounds; lines above a lower one go at once. */
  resize(maxLines: number, maxBytes: number): void {
    this.#maxLines = Math.max(1, maxLines);
    this.#maxBytes = Math.max(LEAST_CAPACITY, maxBytes);
    if (this.next - this.first > this.#maxLines) this.first = this.next - this.#maxLines;
    if (this.#capacity > this.#maxBytes) this.#move(this.#maxBytes);
  }

  /** Where the record of line `number` (held) begins in `bytes`. */
  at(number: number): number {
    return this.#starts[number & this.#mask]! % this.#capacity;
  }

  /** Microseconds since the epoch of a line that is held. */
  micros(number: number): number {
    return this.view.getFloat64(this.at(number) + RECORD_MICROS);
  }

  source(number: number): Source {
    return this.bytes[this.at(number) + RECORD_SOURCE] as Source;
  }

  process(number: number): number {
    return this.view.getUint32(this.at(number) + RECORD_PROCESS);
  }

  /** The text of a line that is held; valid until the next line is written. */
  text(number: number): Buffer {
    const at = this.at(number);
    return this.bytes.subarray(at + RECORD_HEAD, at + RECORD_HEAD + this.view.getUint32(at + RECORD_LENGTH));
  }

  /** The whole record of a line that is held. */
  record(number: number): Buffer {
    const at = this.at(number);
    return this.bytes.subarray(at, at + RECORD_HEAD + this.view.getUint32(at + RECORD_LENGTH));
  }

  /**
   * Takes records of a batch from `from` while they belong to `handle`, at most `most` lines: neighbours in the
   * batch are copied in one go. Handles of processes become numbers by `processes` (and are overwritten in the
   * batch); records whose source is not in the bit set `allowed` are left out and counted in `refused`.
   * @returns where the next record begins, or BROKEN.
   */
  take(
    batch: Buffer,
    view: DataView,
    from: number,
    handle: number,
    processes: Int32Array | number[],
    allowed: number,
    most: number,
  ): number {
    const end = batch.length;
    const stop = this.next + most;
    let at = from;
    let pending = from;
    while (at < end && this.next < stop) {
      if (end - at < RECORD_HEAD) return BROKEN;
      if (view.getUint32(at) !== handle) break;
      const length = view.getUint32(at + RECORD_LENGTH);
      const size = RECORD_HEAD + length;
      if (length > LINE_LIMIT || size > end - at) return BROKEN;
      const process = processes[view.getUint32(at + RECORD_PROCESS)];
      if (process === undefined || process < 0) return BROKEN;
      const source = batch[at + RECORD_SOURCE]!;
      if (source > 31 || (allowed & (1 << source)) === 0) {
        this.#copy(batch, pending, at);
        this.refused += 1;
        at += size;
        pending = at;
        continue;
      }
      view.setUint32(at + RECORD_PROCESS, process);
      if (!this.#fits(at - pending + size)) {
        this.#copy(batch, pending, at);
        pending = at;
        this.#room(size);
      }
      this.#index(at - pending, size);
      at += size;
    }
    this.#copy(batch, pending, at);
    return at;
  }

  /** Writes one line. */
  write(process: number, source: Source, micros: number, text: Uint8Array): void {
    const length = Math.min(text.length, LINE_LIMIT);
    const at = this.begin(process, source, micros, length);
    this.bytes.set(length === text.length ? text : text.subarray(0, length), at);
  }

  /** Makes a line of exactly `length` bytes (at most LINE_LIMIT) and returns where in `bytes` its text goes. */
  begin(process: number, source: Source, micros: number, length: number): number {
    const size = RECORD_HEAD + length;
    if (!this.#fits(size)) this.#room(size);
    this.#index(0, size);
    const at = this.#head % this.#capacity;
    this.#head += size;
    const view = this.view;
    view.setUint32(at, 0);
    view.setUint32(at + RECORD_PROCESS, process);
    view.setUint8(at + RECORD_SOURCE, source);
    view.setFloat64(at + RECORD_MICROS, micros);
    view.setUint32(at + RECORD_LENGTH, length);
    return at + RECORD_HEAD;
  }

  /** True when `size` more bytes lie between the head and the end, and drop nothing that growing would keep. */
  #fits(size: number): boolean {
    const head = this.#head;
    if ((head % this.#capacity) + size > this.#capacity) return false;
    return !this.#growable || this.#oldest >= head + size - this.#capacity;
  }

  get #growable(): boolean {
    return this.#capacity < this.#maxBytes;
  }

  /** Position of the oldest line; the head when there is none. */
  get #oldest(): number {
    return this.first === this.next ? this.#head : this.#starts[this.first & this.#mask]!;
  }

  /** Grows while that keeps lines within the bounds, else goes round to the beginning. */
  #room(size: number): void {
    const left = this.#capacity - (this.#head % this.#capacity);
    const skip = left < size ? left : 0;
    const overruns = this.#oldest < this.#head + skip + size - this.#capacity;
    if (overruns && this.#growable && this.next - this.first < this.#maxLines) {
      this.#move(Math.min(this.#capacity * 2, this.#maxBytes));
      if (!this.#fits(size)) this.#room(size);
      return;
    }
    this.#head += skip;
  }

  /** Enters the record that will lie `ahead` bytes behind the head. */
  #index(ahead: number, size: number): void {
    const position = this.#head + ahead;
    if (this.next - this.first === this.#maxLines) this.first += 1;
    else if (this.next - this.first > this.#mask) this.#moreSlots();
    const starts = this.#starts;
    starts[this.next & this.#mask] = position;
    this.next += 1;
    const floor = position + size - this.#capacity;
    while (starts[this.first & this.#mask]! < floor && this.first < this.next - 1) this.first += 1;
  }

  #copy(batch: Buffer, from: number, to: number): void {
    if (from === to) return;
    this.bytes.set(batch.subarray(from, to), this.#head % this.#capacity);
    this.#head += to - from;
  }

  #moreSlots(): void {
    const slots = new Float64Array((this.#mask + 1) * 2);
    const mask = slots.length - 1;
    for (let line = this.first; line < this.next; line += 1) {
      slots[line & mask] = this.#starts[line & this.#mask]!;
    }
    this.#starts = slots;
    this.#mask = mask;
  }

  /** Moves the lines into a buffer of another size, the newest ones that fit. */
  #move(capacity: number): void {
    let keep = this.next;
    let total = 0;
    while (keep > this.first) {
      const size = this.record(keep - 1).length;
      if (total + size > capacity) break;
      total += size;
      keep -= 1;
    }
    const bytes = Buffer.allocUnsafeSlow(capacity);
    let head = 0;
    for (let line = keep; line < this.next; line += 1) {
      const record = this.record(line);
      bytes.set(record, head);
      this.#starts[line & this.#mask] = head;
      head += record.length;
    }
    this.first = keep;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
    this.#capacity = capacity;
    this.#head = head;
  }
}
