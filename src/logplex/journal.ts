import { createHash } from "node:crypto";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { pack, unpack } from "msgpackr";
import {
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../wire/log-batch.ts";
import type { Source } from "../wire/source.ts";
import type { AppStream, DrainPlace, Taken } from "./app-stream.ts";
import type { Streams } from "./streams.ts";
import { nowMicros } from "./time-stamp.ts";

/*
 * A stream on disk: `streams/<app id>`, blocks one behind the other, each what changed since the one before.
 *
 *   u32 length of body | 8 bytes of the body's SHA-1 | body: msgpackr of Block
 *
 * A block is one write, and holds an app's lines together with what was taken from each sender, so a kill
 * between two writes loses both or neither. A block cut short is the last one and is cut off. When a file has
 * grown to twice its ring it is written anew, beside the old one, and renamed.
 */

interface Block {
  /** Number of the first line here; a gap to the block before means that the ring went round in between. */
  first: number;
  /** Records as in the ring, one behind the other. */
  records: Uint8Array;
  /** What the process numbers in `records` stand for. */
  names: [number, string][];
  taken: [string, Taken][];
  drains: [string, DrainPlace][];
  /** Lines ever taken from outside log sources. */
  outside: number;
  /** Microseconds since the epoch. */
  at: number;
}

const BLOCK_HEAD = 12;
/** Files below this are not worth writing anew. */
const REWRITE_LEAST = 64 * 1024;
/** Bytes written in one turn of the event loop, so that lines are taken in between. */
const TURN_BYTES = 4 * 1024 * 1024;

/** An app id as a file's name; others are not kept. */
const isFileName = (app: string): boolean => /^[A-Za-z0-9][\w.-]{0,100}$/.test(app);

const digest = (body: Uint8Array): Buffer => createHash("sha1").update(body).digest().subarray(0, 8);

interface Saved {
  /** Number behind the last line on disk. */
  next: number;
  bytes: number;
}

/** Keeps every stream on disk: appended to when asked, read at start. */
export class Journal {
  #folder: string;
  #streams: Streams;
  #saved = new WeakMap<AppStream, Saved>();
  /** Places of the drains of a stream, asked for at each write. */
  #drains: (stream: AppStream) => [string, DrainPlace][];
  /** A disk that cannot be written to is told once, until it can again. */
  onTrouble: (error: Error | null) => void = () => {};
  #trouble = false;

  /** @param folder made if it is not there, 0700 */
  constructor(folder: string, streams: Streams, drains: (stream: AppStream) => [string, DrainPlace][]) {
    this.#folder = folder;
    this.#streams = streams;
    this.#drains = drains;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  #file(stream: AppStream): string {
    return path.join(this.#folder, stream.app);
  }

  /** Reads every stream back. Call it once, after the settings are known. */
  load(): void {
    for (const name of readdirSync(this.#folder)) {
      const file = path.join(this.#folder, name);
      const stream = isFileName(name) ? this.#streams.get(name) : undefined;
      if (stream) this.#read(stream, file);
    }
  }

  /** Deletes the files of apps that are no more; call it when the settings are whole and fresh. */
  prune(): void {
    for (const name of readdirSync(this.#folder)) {
      if (!this.#streams.get(name)) rmSync(path.join(this.#folder, name), { force: true });
    }
  }

  #read(stream: AppStream, file: string): void {
    const bytes = readFileSync(file);
    let at = 0;
    while (bytes.length - at >= BLOCK_HEAD) {
      const end = at + BLOCK_HEAD + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      const body = bytes.subarray(at + BLOCK_HEAD, end);
      if (!digest(body).equals(bytes.subarray(at + 4, at + BLOCK_HEAD))) break;
      this.#restore(stream, unpack(body) as Block);
      at = end;
    }
    if (at < bytes.length) truncateSync(file, at);
    stream.startedAt = stream.ring.next;
    this.#saved.set(stream, { next: stream.ring.next, bytes: at });
  }

  #restore(stream: AppStream, block: Block): void {
    const { ring } = stream;
    const records = Buffer.from(block.records);
    const names = new Map<number, number>();
    for (const [id, name] of block.names) names.set(id, this.#streams.names.id(name));
    if (block.first !== ring.next) ring.startAt(block.first);
    for (let at = 0; at < records.length; ) {
      const length = records.readUInt32BE(at + RECORD_LENGTH);
      const text = records.subarray(at + RECORD_HEAD, at + RECORD_HEAD + length);
      const process = names.get(records.readUInt32BE(at + RECORD_PROCESS))!;
      ring.write(
        process,
        records[at + RECORD_SOURCE] as Source,
        records.readDoubleBE(at + RECORD_MICROS),
        text,
      );
      at += RECORD_HEAD + length;
    }
    stream.taken.clear();
    for (const [sender, taken] of block.taken) stream.taken.set(sender, { ...taken, seen: Date.now() });
    stream.places.clear();
    for (const [drain, place] of block.drains) stream.places.set(drain, place);
    stream.outside = block.outside;
    stream.savedAt = block.at;
  }

  /** Writes what changed since the last time, a few megabytes a turn. */
  async save(): Promise<void> {
    let budget = TURN_BYTES;
    for (const stream of [...this.#streams.unsaved]) {
      budget -= this.#append(stream);
      if (budget > 0) continue;
      budget = TURN_BYTES;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The same at once, for the end of the process. */
  saveNow(): void {
    for (const stream of [...this.#streams.unsaved]) this.#append(stream);
  }

  /** Deletes what is kept of a stream whose app is gone. */
  remove(stream: AppStream): void {
    if (isFileName(stream.app)) rmSync(this.#file(stream), { force: true });
  }

  /** Writes one stream's change; returns the bytes written. */
  #append(stream: AppStream): number {
    // A stream dropped meanwhile must not come back as a file.
    if (!this.#streams.unsaved.delete(stream)) return 0;
    stream.unsaved = false;
    if (!isFileName(stream.app)) return 0;
    const { ring } = stream;
    const saved = this.#saved.get(stream);
    const file = this.#file(stream);
    const anew = !saved || saved.next < ring.first || saved.bytes > Math.max(REWRITE_LEAST, 2 * ring.size);
    const first = anew ? ring.first : saved.next;
    const block = this.#block(stream, first);
    try {
      if (anew) {
        writeFileSync(`${file}~`, block, { mode: 0o600 });
        renameSync(`${file}~`, file);
      } else appendFileSync(file, block);
      this.#saved.set(stream, { next: ring.next, bytes: (anew ? 0 : saved.bytes) + block.length });
      if (this.#trouble) this.onTrouble(null);
      this.#trouble = false;
    } catch (error) {
      // A full disk: the lines stay in memory, and the next write is the whole ring.
      this.#saved.delete(stream);
      stream.touch();
      if (!this.#trouble) this.onTrouble(error as Error);
      this.#trouble = true;
    }
    return block.length;
  }

  #block(stream: AppStream, first: number): Buffer {
    const { ring } = stream;
    const parts: Buffer[] = [];
    const names = new Map<number, string>();
    for (let line = first; line < ring.next; line += 1) {
      const process = ring.process(line);
      if (!names.has(process)) names.set(process, this.#streams.names.name(process));
      parts.push(ring.record(line));
    }
    stream.savedAt = nowMicros();
    const block: Block = {
      first,
      records: Buffer.concat(parts),
      names: [...names],
      taken: [...stream.taken],
      drains: this.#drains(stream),
      outside: stream.outside,
      at: stream.savedAt,
    };
    const body = pack(block);
    const head = Buffer.alloc(BLOCK_HEAD);
    head.writeUInt32BE(body.length, 0);
    head.set(digest(body), 4);
    return Buffer.concat([head, body]);
  }
}
