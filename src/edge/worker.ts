import type { App } from "./app.ts";
import type { Clock, Wheel } from "./clock.ts";
import type { RequestExchange } from "./exchange.ts";
import type { Durations } from "./limits.ts";
import type { RequestLog } from "./request-log.ts";
import type { RoutingTable } from "./table.ts";

/** The exchanges under way; each knows its place, so that coming and going are a few assignments. */
export class OpenExchanges {
  #all: RequestExchange[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(exchange: RequestExchange): void {
    exchange.place = this.#all.length;
    this.#all.push(exchange);
  }

  delete(exchange: RequestExchange): void {
    const last = this.#all.pop()!;
    if (last === exchange) return;
    this.#all[exchange.place] = last;
    last.place = exchange.place;
  }

  /** Those that are under way now. */
  list(): RequestExchange[] {
    return [...this.#all];
  }
}

/** What every exchange of this worker shares. */
export interface Worker {
  readonly table: RoutingTable;
  readonly log: RequestLog;
  readonly wheel: Wheel;
  readonly clocks: Clocks;
  readonly durations: Durations;
  /** A new request id. */
  readonly requestId: () => string;
  /** Tells control, once, that a request waits for this sleeping app. */
  wakeApp(app: App): void;
  /** The listeners are closed; answers close their connections. */
  stopping: boolean;
  /** Exchanges that have not ended. */
  readonly open: OpenExchanges;
  /** Called when the last open exchange has ended. */
  onIdle: () => void;
}

export interface Clocks {
  firstByte: Clock;
  rolling: Clock;
  connect: Clock;
  idle: Clock;
  late: Clock;
}

export const clocksOf = (wheel: Wheel, durations: Durations): Clocks => ({
  firstByte: wheel.clock("first byte", durations.firstByte),
  rolling: wheel.clock("rolling", durations.rolling),
  connect: wheel.clock("connect", durations.connect),
  idle: wheel.clock("idle", durations.idle),
  late: wheel.clock("late", durations.late),
});
