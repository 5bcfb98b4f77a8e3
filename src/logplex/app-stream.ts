import type { AppLogSettings } from "../wire/log-settings.ts";
import type { Source } from "../wire/source.ts";
import type { ProcessNames } from "./process-names.ts";
import { Ring } from "./ring.ts";
import { nowMicros } from "./time-stamp.ts";

/** Reads from a stream and is woken when lines came: a drain or a session. */
export interface Follower {
  wake(): void;
  /** The stream is gone: its app was destroyed. */
  end(): void;
}

/** What the Logplex has taken from one sender for one app; kept with the ring, so that a kill -9 shows as a gap. */
export interface Taken {
  /** Number of the last batch with lines of this app. */
  batch: number;
  /** Lines of this app taken in the sender's life. */
  count: number;
  /** Lines that the sender said it dropped, as far as told in the stream. */
  dropped: number;
  /** Milliseconds since the epoch of its last sign of life. */
  seen: number;
}

/** Where a drain stood when it was written down. */
export interface DrainPlace {
  cursor: number;
  lost: number;
  since: number;
}

/** Bounds of a ring whose app's settings have not come yet. */
const DEFAULT_LINES = 1500;
const DEFAULT_BYTES = 4 * 1024 * 1024;
/** A line older than this is not shown any more. */
const KEPT_MICROS = 7 * 24 * 3600 * 1e6;

/** The log of one app: its ring, and who reads from it. */
export class AppStream {
  readonly app: string;
  settings: AppLogSettings | null = null;
  ring: Ring;
  readonly followers = new Set<Follower>();
  readonly taken = new Map<string, Taken>();
  /** Places of drains as read from disk, until each drain takes up its own. */
  readonly places = new Map<string, DrainPlace>();
  /** Number of the first line after the last start; an older session continues from here at the earliest. */
  startedAt = 0;
  /** Lines ever taken from outside log sources. */
  outside = 0;
  /** Microseconds since the epoch of what disk holds. */
  savedAt = 0;
  /** True when its app was destroyed: nothing is written to it any more. */
  ended = false;
  /** Milliseconds since the epoch. */
  readonly madeAt = Date.now();
  /** True while it waits for its turn to be written to disk. */
  unsaved = false;
  /** Called at the first change since it was saved. */
  onChange: (stream: AppStream) => void;
  #names: ProcessNames;
  #woken = false;
  #waking = false;

  constructor(app: string, names: ProcessNames, onChange: (stream: AppStream) => void) {
    this.app = app;
    this.#names = names;
    this.onChange = onChange;
    this.ring = new Ring(DEFAULT_LINES, DEFAULT_BYTES);
  }

  /** Lines that a session may ask for. */
  get lines(): number {
    return this.settings?.lines ?? DEFAULT_LINES;
  }

  /** Takes new settings; with drains the ring holds at least a drain's buffer. */
  configure(settings: AppLogSettings, drainBuffer: number): void {
    this.settings = settings;
    const lines = settings.drains.length > 0 ? Math.max(settings.lines, drainBuffer) : settings.lines;
    this.ring.resize(lines, settings.bytes);
  }

  /** Marks a change that disk does not hold yet. */
  touch(): void {
    if (this.unsaved) return;
    this.unsaved = true;
    this.onChange(this);
  }

  /** Lines came: wakes everyone who reads. Safe to call from within a wake. */
  wake(): void {
    this.touch();
    this.#woken = true;
    if (this.#waking) return;
    this.#waking = true;
    while (this.#woken) {
      this.#woken = false;
      for (const follower of this.followers) follower.wake();
    }
    this.#waking = false;
  }

  /** Writes one of the Logplex's own lines. */
  tell(source: Source, process: string, text: string): void {
    this.ring.write(this.#names.id(process), source, nowMicros(), Buffer.from(text));
    this.wake();
  }

  /** Drops what is older than the ring may show. */
  expire(): void {
    const before = nowMicros() - KEPT_MICROS;
    const { ring } = this;
    while (ring.first < ring.next && ring.micros(ring.first) < before) ring.first += 1;
  }

  /** The app is gone. */
  end(): void {
    this.ended = true;
    for (const follower of [...this.followers]) follower.end();
    this.followers.clear();
  }
}
