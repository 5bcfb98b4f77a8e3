/** Lets one build an app and `limit` builds in all run at a time; the others wait their turn. */
export class BuildQueue {
  #limit: number;
  #running = new Set<string>();
  #waiting: { app: string; go: () => void }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Why a build of `app` would have to wait now; null when it would not. */
  reason(app: string): string | null {
    if (this.#running.has(app) || this.#waiting.some((waiter) => waiter.app === app)) {
      return "Another build of this app is under way; this one starts when it has ended.";
    }
    if (this.#running.size >= this.#limit) {
      return "As many builds are under way as this Sluice runs at a time; this one starts when one has ended.";
    }
    return null;
  }

  /**
   * Resolves when it is the turn of a build of `app`; call what it resolves with when the build has ended.
   * Rejects when `signal` is aborted first.
   */
  enter(app: string, signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const go = (): void => {
        signal.removeEventListener("abort", leave);
        this.#running.add(app);
        resolve(() => {
          this.#running.delete(app);
          this.#next();
        });
      };
      const leave = (): void => {
        this.#waiting = this.#waiting.filter((waiter) => waiter.go !== go);
        reject(signal.reason);
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.push({ app, go });
      this.#next();
    });
  }

  #next(): void {
    for (const waiter of [...this.#waiting]) {
      if (this.#running.size >= this.#limit) return;
      if (this.#running.has(waiter.app)) continue;
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      waiter.go();
    }
  }
}
