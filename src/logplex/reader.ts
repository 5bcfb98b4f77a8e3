import type { Ring } from "./ring.ts";

/** Lines that a reader did not get, until they are told. */
export interface Loss {
  count: number;
  /** Microseconds since the epoch of the first one. */
  since: number;
}

/**
 * A place in a ring from which a drain or a session reads. Lines wait in the ring itself, at most `bound` of
 * them; what falls behind is counted here the moment anyone looks. So at every instant:
 * lines written since the reader began = lines taken + lines counted lost + `waiting`.
 */
export class RingReader {
  readonly ring: Ring;
  /** Number of the next line to read. */
  cursor: number;
  /** Lines from here on are live; the history before it does not fill the buffer. */
  readonly live: number;
  bound: number;
  loss: Loss = { count: 0, since: 0 };
  /** Lines lost in this reader's life, told or not. */
  lostEver = 0;
  /** Called with each loss as it is noticed. */
  onLoss: (count: number, since: number) => void = () => {};

  constructor(ring: Ring, bound: number, cursor: number, live: number = cursor) {
    this.ring = ring;
    this.bound = bound;
    this.cursor = cursor;
    this.live = live;
  }

  /** Lines that can be read now, after what fell behind is counted. */
  get waiting(): number {
    this.settle();
    return this.ring.next - this.cursor;
  }

  /** Counts what fell out of the bound or out of the ring. */
  settle(): void {
    const { ring } = this;
    let floor = ring.first;
    if (ring.next - Math.max(this.cursor, this.live) > this.bound) {
      floor = Math.max(floor, ring.next - this.bound);
    }
    if (this.cursor >= floor) return;
    const since = ring.first < ring.next ? ring.micros(Math.max(this.cursor, ring.first)) : Date.now() * 1000;
    this.lose(floor - this.cursor, since);
    this.cursor = floor;
  }

  /** Counts lines as lost that were taken and then could not be delivered. */
  lose(count: number, since: number): void {
    this.lostEver += count;
    this.onLoss(count, since);
    if (this.loss.count === 0 || since < this.loss.since) this.loss.since = since;
    this.loss.count += count;
  }

  /** Puts back a loss that was taken and could not be told; it is not counted a second time. */
  untell(loss: Loss): void {
    if (this.loss.count === 0 || loss.since < this.loss.since) this.loss.since = loss.since;
    this.loss.count += loss.count;
  }

  /** Takes the loss that is to be told now; null when there is none. */
  takeLoss(): Loss | null {
    this.settle();
    if (this.loss.count === 0) return null;
    const loss = this.loss;
    this.loss = { count: 0, since: 0 };
    return loss;
  }
}
