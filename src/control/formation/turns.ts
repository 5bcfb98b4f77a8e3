/** Work on one app runs one piece after the other, in the order in which it was given. */
export class Turns {
  #tails = new Map<string, Promise<void>>();

  /** Runs `work` when everything given before for this app has ended, well or not. */
  run<T>(appId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(appId) ?? Promise.resolve();
    const mine = before.then(work);
    const tail = mine.then(
      () => {},
      () => {},
    );
    this.#tails.set(appId, tail);
    void tail.then(() => {
      if (this.#tails.get(appId) === tail) this.#tails.delete(appId);
    });
    return mine;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values());
  }
}
