import { chooseDyno } from "./choose.ts";
import { H10, H11, H14, H80, H81 } from "./codes.ts";
import type { RequestExchange } from "./exchange.ts";
import { REQUESTS_PER_DYNO } from "./limits.ts";

/** One step of a request's way; false when the exchange waits or has ended. */
export type Stage = (exchange: RequestExchange) => boolean;

/** What breaks the rules of HTTP is refused before anything is looked up. */
function validate(exchange: RequestExchange): boolean {
  const refusal = exchange.request.refusal;
  if (refusal === null) return true;
  exchange.refuse(refusal);
  return false;
}

/** The exact host decides. A request that waited looks again: its app may have gone. */
function findApp(exchange: RequestExchange): boolean {
  const app = exchange.worker.table.find(exchange.request.host);
  if (app === null) {
    exchange.noSuchApp();
    return false;
  }
  return exchange.enter(app);
}

/** Goes on when there is a dyno to ask, waits while one is starting, and answers what cannot be served. */
function checkState(exchange: RequestExchange): boolean {
  const app = exchange.app!;
  if (!exchange.counted && !exchange.count(REQUESTS_PER_DYNO * Math.max(1, app.route.quantity))) {
    exchange.fail(H11);
    return false;
  }
  switch (app.state) {
    case "maintenance":
      exchange.fail(H80);
      return false;
    case "blank":
      exchange.fail(H81);
      return false;
    case "none":
      exchange.fail(H14);
      return false;
    case "crashed":
      exchange.fail(H10);
      return false;
    case "idle":
      exchange.worker.wakeApp(app);
      exchange.awaitBoot();
      return false;
    case "starting":
      exchange.awaitBoot();
      return false;
    case "up":
      if (app.dynos.length > 0) return true;
      exchange.awaitBoot();
      return false;
  }
}

/** The way of one request, in order; what comes back is handled in exchange.ts as it comes. */
export const STAGES: readonly Stage[] = [
  validate,
  findApp,
  checkState,
  chooseDyno,
  (exchange) => exchange.send(),
];

/** Where a request that waited for its app's dynos goes on. */
export const LOOK_UP = STAGES.indexOf(findApp);
export const CHOOSE = STAGES.indexOf(chooseDyno);
