/** Names above which a sweep is worth its walk over all rings. */
const SWEEP_FIRST = 4096;

/**
 * The process names (`web.1`, `router`, `nginx-1`) that lines carry as a number. Outside log sources choose
 * names freely, so the ones that no ring holds any more are swept out.
 */
export class ProcessNames {
  #ids = new Map<string, number>();
  #names: string[] = [];
  #bytes: Uint8Array[] = [];
  #free: number[] = [];
  #sweepAt = SWEEP_FIRST;

  get size(): number {
    return this.#ids.size;
  }

  /** The number of `name`; the same name gives the same number until it is swept. */
  id(name: string): number {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    const id = this.#free.pop() ?? this.#names.length;
    this.#ids.set(name, id);
    this.#names[id] = name;
    this.#bytes[id] = Buffer.from(name);
    return id;
  }

  name(id: number): string {
    return this.#names[id]!;
  }

  /** The name in UTF-8. */
  bytes(id: number): Uint8Array {
    return this.#bytes[id]!;
  }

  /** True when enough names came since the last sweep that one pays. */
  get sweepDue(): boolean {
    return this.#ids.size >= this.#sweepAt;
  }

  /** Forgets every name that is not in `used`. */
  sweep(used: Set<number>): void {
    for (const [name, id] of this.#ids) {
      if (used.has(id)) continue;
      this.#ids.delete(name);
      this.#free.push(id);
    }
    this.#sweepAt = Math.max(SWEEP_FIRST, this.#ids.size * 2);
  }
}
