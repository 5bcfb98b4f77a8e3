import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { pack, unpack } from "msgpackr";
import type { Link } from "./link.ts";

/*
 * A feed carries a keyed table from control to its readers: a snapshot, then numbered deltas.
 *
 *   reader                                control
 *     | -- FEED_HELLO {epoch, number} ------> |   what the reader has (0, 0: nothing)
 *     | <------ FEED_SNAPSHOT {epoch, number, entries}
 *     | <------ FEED_DELTA {epoch, number, set, remove}
 *     | -- FEED_ACK {epoch, number} ---------> |   after applying it
 *
 * A reader refuses a lower epoch and says hello again when a number is missing.
 */

export const FEED_HELLO = 1;
export const FEED_SNAPSHOT = 2;
export const FEED_DELTA = 3;
export const FEED_ACK = 4;
/** Kinds below this one belong to the feed; a link's own messages start here. */
export const FIRST_OWN_KIND = 16;

export interface FeedPosition {
  epoch: number;
  number: number;
}
export interface FeedSnapshot<V> extends FeedPosition {
  entries: [string, V][];
}
export interface FeedDelta<V> extends FeedPosition {
  set: [string, V][];
  remove: string[];
}

/** Control's side: holds the table, and tells every attached link of each change. */
export class FeedPublisher<V> {
  readonly epoch: number;
  #number = 0;
  #table = new Map<string, V>();
  #readers = new Map<Link, number>();
  /** Called when a reader has applied a number. */
  onAck: (link: Link, number: number) => void = () => {};

  /** @param epoch a store sequence taken at this start, higher than every earlier one. */
  constructor(epoch: number) {
    this.epoch = epoch;
  }

  get number(): number {
    return this.#number;
  }

  get readers(): Iterable<Link> {
    return this.#readers.keys();
  }

  /** The last number that `link` has acknowledged; 0 when none. */
  acknowledged(link: Link): number {
    return this.#readers.get(link) ?? 0;
  }

  get(key: string): V | undefined {
    return this.#table.get(key);
  }

  entries(): IterableIterator<[string, V]> {
    return this.#table.entries();
  }

  /** Applies one change and sends it to every reader; returns its number. */
  update(set: [string, V][], remove: string[] = []): number {
    this.#number += 1;
    for (const [key, value] of set) this.#table.set(key, value);
    for (const key of remove) this.#table.delete(key);
    const delta: FeedDelta<V> = { epoch: this.epoch, number: this.#number, set, remove };
    for (const link of this.#readers.keys()) link.send(FEED_DELTA, delta);
    return this.#number;
  }

  /** Handles a message of a link; true when it was one of the feed's. */
  take(link: Link, kind: number, message: unknown): boolean {
    if (kind === FEED_HELLO) {
      this.#readers.set(link, 0);
      const snapshot: FeedSnapshot<V> = {
        epoch: this.epoch,
        number: this.#number,
        entries: [...this.#table],
      };
      link.send(FEED_SNAPSHOT, snapshot);
      return true;
    }
    if (kind === FEED_ACK) {
      const { epoch, number } = message as FeedPosition;
      if (epoch === this.epoch && this.#readers.has(link)) {
        this.#readers.set(link, number);
        this.onAck(link, number);
      }
      return true;
    }
    return false;
  }

  /** Forgets a link that closed. */
  detach(link: Link): void {
    this.#readers.delete(link);
  }
}

/** A reader's side: keeps the table, in memory and (with `file`) on disk, so it is there without control. */
export class FeedReader<V> {
  #position: FeedPosition = { epoch: 0, number: 0 };
  #file: string | null;
  #kept: (value: V) => boolean;
  #saving: NodeJS.Timeout | null = null;
  readonly table = new Map<string, V>();
  /** Called after each change with the keys it touched; `all` after a snapshot. */
  onChange: (keys: string[], all: boolean) => void = () => {};

  /** @param kept which values may lie on disk: keys of certificates may not. */
  constructor(file: string | null = null, kept: (value: V) => boolean = () => true) {
    this.#file = file;
    this.#kept = kept;
    if (file) this.#load(file);
  }

  get position(): FeedPosition {
    return this.#position;
  }

  #load(file: string): void {
    try {
      const saved = unpack(readFileSync(file)) as FeedSnapshot<V>;
      for (const [key, value] of saved.entries) this.table.set(key, value);
      // The epoch is kept so that an older control is refused; number 0 asks for the whole table again.
      this.#position = { epoch: saved.epoch, number: 0 };
    } catch {
      // No file, or one cut short: the snapshot from control fills the table.
    }
  }

  /** Says hello; call it whenever the link opens. */
  hello(link: Link): void {
    link.send(FEED_HELLO, this.#position);
  }

  /** Handles a message of the link; true when it was one of the feed's. */
  take(link: Link, kind: number, message: unknown): boolean {
    if (kind === FEED_SNAPSHOT) {
      const snapshot = message as FeedSnapshot<V>;
      if (snapshot.epoch < this.#position.epoch) return true;
      this.table.clear();
      for (const [key, value] of snapshot.entries) this.table.set(key, value);
      this.#settle(link, snapshot, [...this.table.keys()], true);
      return true;
    }
    if (kind === FEED_DELTA) {
      const delta = message as FeedDelta<V>;
      if (delta.epoch < this.#position.epoch) return true;
      if (delta.epoch !== this.#position.epoch || delta.number !== this.#position.number + 1) {
        this.hello(link);
        return true;
      }
      for (const [key, value] of delta.set) this.table.set(key, value);
      for (const key of delta.remove) this.table.delete(key);
      this.#settle(link, delta, [...delta.set.map(([key]) => key), ...delta.remove], false);
      return true;
    }
    return false;
  }

  #settle(link: Link, position: FeedPosition, keys: string[], all: boolean): void {
    this.#position = { epoch: position.epoch, number: position.number };
    this.onChange(keys, all);
    link.send(FEED_ACK, this.#position);
    if (this.#file && !this.#saving) {
      // Many deltas in a burst make one write.
      this.#saving = setTimeout(() => this.save(), 50);
    }
  }

  /** Writes the table to its file now, whole or not at all. */
  save(): void {
    if (this.#saving) clearTimeout(this.#saving);
    this.#saving = null;
    if (!this.#file) return;
    const temporary = `${this.#file}.${process.pid}`;
    try {
      const entries = [...this.table].filter(([, value]) => this.#kept(value));
      const snapshot: FeedSnapshot<V> = { ...this.#position, entries };
      writeFileSync(temporary, pack(snapshot), { mode: 0o600 });
      renameSync(temporary, this.#file);
    } catch {
      // A full disk costs only the copy; the table in memory is right.
    }
  }
}
