/** A first death is mended at once; a process that dies again and again is given longer and longer pauses. */
const FIRST_MS = 20;
const LONGEST_MS = 10_000;
/** A process that lived this long is well again. */
const WELL_MS = 20_000;

/** When to start something again that died. */
export class Backoff {
  #delay = FIRST_MS;
  #began = 0;
  #timer: NodeJS.Timeout | null = null;

  /** Says that it serves (again) from now on. */
  began(): void {
    this.#began = Date.now();
  }

  /** Milliseconds to wait before the next start. */
  next(): number {
    if (this.#began && Date.now() - this.#began > WELL_MS) this.#delay = FIRST_MS;
    this.#began = 0;
    const delay = this.#delay;
    this.#delay = Math.min(delay * 3, LONGEST_MS);
    return delay;
  }

  schedule(delay: number, start: () => void): void {
    this.#timer = setTimeout(start, delay);
  }

  /** No start follows any more. */
  cancel(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
