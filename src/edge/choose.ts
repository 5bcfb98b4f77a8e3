import { affineDyno } from "./affinity.ts";
import type { App } from "./app.ts";
import { time } from "./clock.ts";
import { H19, H21, H99 } from "./codes.ts";
import type { Dyno } from "./dyno.ts";
import type { RequestExchange } from "./exchange.ts";
import { CONNECT_ATTEMPTS } from "./limits.ts";

/** Pauses while every dyno is in quarantine: the first, and the longest. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

/** One of the app's dynos at random, quarantined ones left out; null when there is none. */
function pick(app: App, now: number): Dyno | null {
  const dynos = app.dynos;
  const dyno = dynos[dynos.length === 1 ? 0 : Math.floor(Math.random() * dynos.length)]!;
  if (dyno.quarantinedUntil <= now) return dyno;
  const others = dynos.filter((other) => other.quarantinedUntil <= now);
  return others[Math.floor(Math.random() * others.length)] ?? null;
}

/**
 * Chooses a dyno and takes a connection to it: an idle one at once, or a new one, for which the exchange waits.
 * Tries are used up after 10, or as many as there are dynos: then H19 or H21.
 */
export function chooseDyno(exchange: RequestExchange): boolean {
  const app = exchange.app!;
  const { now } = time;
  const affine = app.route.affinity ? affineDyno(app, exchange.request.cookie, now) : null;
  exchange.sticky = affine !== null;
  const dyno = affine ?? pick(app, now);
  if (dyno !== null) return exchange.connect(dyno);
  if (exchange.attempts > 0) {
    exchange.fail(exchange.connectTimedOut ? H19 : H21);
    return false;
  }
  if (exchange.connectSince === 0) exchange.connectSince = now;
  if (now - exchange.connectSince > exchange.worker.durations.connectTotal) {
    exchange.fail(H99);
    return false;
  }
  exchange.pause = exchange.pause === 0 ? FIRST_PAUSE_MS : Math.min(exchange.pause * 2, LONGEST_PAUSE_MS);
  exchange.worker.wheel.clock("pause", exchange.pause).start(exchange);
  return false;
}

/** Whether another dyno may be asked after `exchange.attempts` failed ones. */
export const mayTryAgain = (exchange: RequestExchange): boolean =>
  exchange.attempts < Math.min(CONNECT_ATTEMPTS, exchange.app!.dynos.length);
