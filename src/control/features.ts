import type { App } from "./apps.ts";

/** A switch of an app, as `heroku features` (state `general`) or `heroku labs` (state `beta`) shows it. */
export interface Feature {
  name: string;
  description: string;
  state: "general" | "beta";
  /** What an app has that never set it. */
  default: boolean;
}

export const FEATURES: readonly Feature[] = [
  {
    name: "preboot",
    description: "New web dynos start, and listen, before the old ones are stopped.",
    state: "general",
    default: true,
  },
  {
    name: "sleep",
    description: "Web dynos sleep when no request came for a while; the next request wakes them.",
    state: "general",
    default: false,
  },
  {
    name: "http-session-affinity",
    description: "Requests of one client go to the same web dyno, by a cookie.",
    state: "general",
    default: false,
  },
  {
    name: "http-disable-keepalive-to-dyno",
    description: "The edge opens a new connection to the dyno for every request.",
    state: "general",
    default: false,
  },
  {
    name: "log-runtime-metrics",
    description: "A dyno's load and memory are written to the app's log every 20 s.",
    state: "beta",
    default: false,
  },
  {
    name: "runtime-dyno-metadata",
    description: "Dynos get HEROKU_APP_NAME, HEROKU_RELEASE_VERSION and the like in their environment.",
    state: "beta",
    default: true,
  },
];

/** Whether an app has the feature `name` on. */
export function featureOn(app: Pick<App, "features">, name: string): boolean {
  return app.features[name] ?? FEATURES.find((feature) => feature.name === name)?.default ?? false;
}
