import type { EdgePeer, Links } from "../links.ts";

/** Requests in flight on a dyno that left the routes get this long (design, section 8). */
export const DRAIN_MS = 30_000;
/** After a restart of control the edges need a moment to be back before their silence means anything. */
const RETURN_MS = 2000;

interface Wait {
  appId: string;
  /** Edge workers that may still have a request there. */
  edges: Set<EdgePeer>;
  /** Not before this one, though no edge is owed for. */
  hold: NodeJS.Timeout | null;
  limit: NodeJS.Timeout;
}

/**
 * Waits for dynos that left the routes: each is done when every edge worker that was connected then has said
 * that its last request there ended, or when the time is up.
 */
export class Draining {
  #links: Links;
  #ms: number;
  #waits = new Map<string, Wait>();
  /** No request is left on this dyno. */
  onDone: (appId: string, dyno: string) => void = () => {};

  constructor(links: Links, ms: number = DRAIN_MS) {
    this.#links = links;
    this.#ms = ms;
    links.onDrained = (edge, dynos) => {
      for (const dyno of dynos) this.#release(dyno, edge);
    };
    links.onEdgeGone = (edge) => {
      for (const dyno of [...this.#waits.keys()]) this.#release(dyno, edge);
    };
    links.onEdge = (edge) => {
      // It served with an older table until now: whatever drains may have requests of its own.
      if (edge.seasoned) for (const wait of this.#waits.values()) wait.edges.add(edge);
    };
  }

  has(dyno: string): boolean {
    return this.#waits.has(dyno);
  }

  /** Begins to wait; call it right after the delta that took the dyno away. `returning`: control has just started. */
  begin(appId: string, dyno: string, returning: boolean): void {
    if (this.#waits.has(dyno)) return;
    const wait: Wait = {
      appId,
      edges: new Set(this.#links.edges),
      hold: null,
      limit: setTimeout(() => this.#finish(dyno), this.#ms),
    };
    if (returning) {
      wait.hold = setTimeout(() => {
        wait.hold = null;
        this.#check(dyno);
      }, RETURN_MS);
    }
    this.#waits.set(dyno, wait);
    // Later than this call: whoever began it is still publishing.
    setImmediate(() => this.#check(dyno));
  }

  #release(dyno: string, edge: EdgePeer): void {
    if (this.#waits.get(dyno)?.edges.delete(edge)) this.#check(dyno);
  }

  #check(dyno: string): void {
    const wait = this.#waits.get(dyno);
    if (wait && wait.edges.size === 0 && wait.hold === null) this.#finish(dyno);
  }

  #finish(dyno: string): void {
    const appId = this.#waits.get(dyno)?.appId;
    this.forget(dyno);
    if (appId !== undefined) this.onDone(appId, dyno);
  }

  forget(dyno: string): void {
    const wait = this.#waits.get(dyno);
    if (!wait) return;
    clearTimeout(wait.limit);
    if (wait.hold) clearTimeout(wait.hold);
    this.#waits.delete(dyno);
  }

  close(): void {
    for (const dyno of [...this.#waits.keys()]) this.forget(dyno);
  }
}
