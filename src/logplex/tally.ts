import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { Source } from "../wire/source.ts";
import type { AppStream } from "./app-stream.ts";
import type { Streams } from "./streams.ts";
import { nowMicros, stampText } from "./time-stamp.ts";

/*
 * Outside senders get no acknowledgement that they could hold against us, so what a kill -9 takes of their lines
 * is known from a small file alone: per app one slot, written with each wake, which the kernel keeps when the
 * process dies.
 *
 *   slot: app id, padded with NUL | f64 lines ever taken from outside
 */
const SLOT_BYTES = 128;
const COUNT_AT = SLOT_BYTES - 8;

/** Counts the lines of outside sources of each app, so that the next start can tell what was lost. */
export class Tally {
  #fd: number;
  #slots = new WeakMap<AppStream, number>();
  #next = 0;
  #number = Buffer.alloc(8);

  /** Reads what the last life counted, tells each stream what is missing, and begins anew. */
  constructor(file: string, streams: Streams) {
    let last = Buffer.alloc(0);
    try {
      last = readFileSync(file);
    } catch {
      // The first start here.
    }
    this.#fd = openSync(file, "a+", 0o600);
    closeSync(this.#fd);
    this.#fd = openSync(file, "r+");
    ftruncateSync(this.#fd);
    for (let at = 0; at + SLOT_BYTES <= last.length; at += SLOT_BYTES) {
      const end = last.indexOf(0, at);
      const stream = streams.get(last.toString("utf8", at, Math.min(end, at + COUNT_AT)));
      const gap = stream ? last.readDoubleBE(at + COUNT_AT) - stream.outside : 0;
      if (!stream || !(gap > 0)) continue;
      stream.outside += gap;
      const since = stampText(stream.savedAt || nowMicros());
      stream.tell(Source.Shuttle, "log-shuttle", `Error L13: ${gap} messages lost since ${since}.`);
    }
  }

  /** Notes that `lines` more came from outside. */
  count(stream: AppStream, lines: number): void {
    stream.outside += lines;
    try {
      let slot = this.#slots.get(stream);
      if (slot === undefined) {
        slot = this.#next;
        this.#next += 1;
        this.#slots.set(stream, slot);
        const bytes = Buffer.alloc(SLOT_BYTES);
        bytes.write(stream.app, 0, COUNT_AT - 1);
        bytes.writeDoubleBE(stream.outside, COUNT_AT);
        writeSync(this.#fd, bytes, 0, SLOT_BYTES, slot * SLOT_BYTES);
        return;
      }
      this.#number.writeDoubleBE(stream.outside, 0);
      writeSync(this.#fd, this.#number, 0, 8, slot * SLOT_BYTES + COUNT_AT);
    } catch {
      // A full disk costs the count of a kill that may never come.
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
