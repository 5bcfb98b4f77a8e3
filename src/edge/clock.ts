/**
 * The time of the event that is being handled: read once where it enters (`readTime`), for a request reads it in
 * a dozen places. `now` is `performance.now()`, `wall` milliseconds since the epoch.
 */
export const time = { now: performance.now(), wall: Date.now() };

export function readTime(): void {
  time.now = performance.now();
  time.wall = Date.now();
}

/** Something that a clock watches: an exchange, or an idle dyno connection. It is on one clock at a time. */
export abstract class Timed {
  clock: Clock | null = null;
  previous: Timed | null = null;
  next: Timed | null = null;
  /** Milliseconds of `performance.now()` at which the clock runs out. */
  deadline = 0;
  /** The clock that this was on ran out; it has been taken off. */
  abstract expired(clock: Clock): void;
}

/**
 * All things that wait for one and the same duration, in a list: the newest is at the end, so only the head is
 * looked at, and starting, stopping and restarting are a few assignments; no timer of the system a request.
 */
export class Clock {
  readonly ms: number;
  #head: Timed | null = null;
  #tail: Timed | null = null;

  constructor(ms: number) {
    this.ms = ms;
  }

  /** Starts or restarts the clock for `timed`, taking it off any other. */
  start(timed: Timed): void {
    timed.clock?.stop(timed);
    timed.clock = this;
    timed.deadline = time.now + this.ms;
    timed.previous = this.#tail;
    if (this.#tail) this.#tail.next = timed;
    else this.#head = timed;
    this.#tail = timed;
  }

  stop(timed: Timed): void {
    if (timed.clock !== this) return;
    if (timed.previous) timed.previous.next = timed.next;
    else this.#head = timed.next;
    if (timed.next) timed.next.previous = timed.previous;
    else this.#tail = timed.previous;
    timed.clock = timed.previous = timed.next = null;
  }

  /** Lets everything whose time is over at `now` expire. */
  run(now: number): void {
    while (this.#head && this.#head.deadline <= now) {
      const timed = this.#head;
      this.stop(timed);
      timed.expired(this);
    }
  }
}

/** Coarseness of the wheel: an expiry is at most this late. */
const TICK_MS = 100;

/** The clocks of one worker, driven by one timer. */
export class Wheel {
  #clocks = new Map<string, Clock>();
  #timer: NodeJS.Timeout | null = null;

  /** The clock `name` of `ms` milliseconds, made at its first use. */
  clock(name: string, ms: number): Clock {
    const key = `${name} ${ms}`;
    let clock = this.#clocks.get(key);
    if (!clock) {
      clock = new Clock(ms);
      this.#clocks.set(key, clock);
      this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref();
    }
    return clock;
  }

  #tick(): void {
    readTime();
    for (const clock of this.#clocks.values()) clock.run(time.now);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }
}
