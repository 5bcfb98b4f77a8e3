import type { AppRoute, AppState } from "../wire/routes.ts";
import { readTime } from "./clock.ts";
import { Dyno } from "./dyno.ts";
import type { RequestExchange } from "./exchange.ts";

/** One app as this worker serves it: what the feed says, its dynos, and the requests that are here. */
export class App {
  readonly id: string;
  route: AppRoute;
  dynos: Dyno[] = [];
  /** Handle of the app at the log sender. */
  readonly logHandle: number;
  /** Exchanges that have not ended: bounds them (H11). */
  open = 0;
  /** Requests that wait for a dyno to be up. */
  readonly waiting = new Set<RequestExchange>();
  /** Control has been told that a request waits for this sleeping app. */
  woken = false;

  constructor(route: AppRoute, logHandle: number) {
    this.id = route.app;
    this.route = route;
    this.logHandle = logHandle;
  }

  get state(): AppState {
    return this.route.state;
  }

  /** Takes a new record: dynos that stay keep their connections, removed ones are chosen no more. */
  update(route: AppRoute, onDrained: (dyno: Dyno) => void): void {
    this.route = route;
    if (route.state !== "idle") this.woken = false;
    const before = new Map(this.dynos.map((dyno) => [dyno.id, dyno]));
    this.dynos = route.dynos.map((entry) => {
      const dyno = before.get(entry.id);
      if (dyno && dyno.address === entry.address && dyno.port === entry.port && dyno.name === entry.name) {
        before.delete(entry.id);
        // Control has news of this app: whoever was unreachable may be back.
        dyno.quarantinedUntil = 0;
        return dyno;
      }
      const added = new Dyno(entry);
      added.onDrained = onDrained;
      return added;
    });
    for (const dyno of before.values()) dyno.remove();
  }

  /** Lets every waiting request look again. */
  wake(): void {
    if (this.waiting.size === 0) return;
    readTime();
    for (const exchange of [...this.waiting]) {
      this.waiting.delete(exchange);
      exchange.advance();
    }
  }
}
