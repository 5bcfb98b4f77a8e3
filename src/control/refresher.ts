import type { Logger } from "pino";
import { isStoreDown } from "./store/postgres.ts";

/** A store that is away is asked again after this pause. */
const RETRY_MS = 250;

/**
 * Keeps something published equal to the store: `refresh(key)` reads the store and publishes what stands there.
 * One runs at a time for a key, and again when the key changed meanwhile, so an older reading never comes last.
 * While the store is away it goes on trying, so a change that was committed is published in the end.
 */
export class Refresher {
  #refresh: (key: string) => Promise<void>;
  #log: Logger;
  /** Keys at work; true: changed again since the reading began. */
  #busy = new Map<string, { again: boolean; done: Promise<void> }>();
  #closed = false;
  #timers = new Set<NodeJS.Timeout>();

  constructor(log: Logger, refresh: (key: string) => Promise<void>) {
    this.#log = log;
    this.#refresh = refresh;
  }

  /** The store changed under `key`. Resolves after it is published, or at once when the store is away. */
  changed(key: string): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const busy = this.#busy.get(key);
    if (busy) {
      busy.again = true;
      return busy.done;
    }
    const entry = { again: false, done: Promise.resolve() };
    this.#busy.set(key, entry);
    entry.done = this.#work(key, entry);
    return entry.done;
  }

  async #work(key: string, entry: { again: boolean }): Promise<void> {
    try {
      do {
        entry.again = false;
        await this.#refresh(key);
      } while (entry.again && !this.#closed);
      this.#busy.delete(key);
    } catch (error) {
      this.#busy.delete(key);
      if (!isStoreDown(error)) this.#log.error({ err: error, key }, "a change could not be published");
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void this.changed(key);
      }, RETRY_MS);
      this.#timers.add(timer);
    }
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
