/** Where a log line comes from: decides the name before the bracket and the PRI (contract, section 3). */
export const Source = {
  /** Output of a dyno: `app[web.1]`. */
  Dyno: 0,
  /** Dyno state, R codes, metrics: `heroku[web.1]`. */
  Platform: 1,
  /** The edge's line per request: `heroku[router]`. */
  Router: 2,
  /** API events: `app[api]`. */
  Api: 3,
  /** The Logplex's own words: `heroku[logplex]`. */
  Logplex: 4,
  /** A sender's count of dropped lines: `app[log-shuttle]`. */
  Shuttle: 5,
  /** L14: `heroku[logplex]`. */
  Certificate: 6,
  /** Add-ons and outside log sources: `app[nginx-1]`. */
  Outside: 7,
} as const;
export type Source = (typeof Source)[keyof typeof Source];

/** APP-NAME and PRI of each source, by its number. */
export const SOURCES: readonly { appName: "app" | "heroku"; pri: number }[] = [
  { appName: "app", pri: 190 },
  { appName: "heroku", pri: 134 },
  { appName: "heroku", pri: 134 },
  { appName: "app", pri: 133 },
  { appName: "heroku", pri: 172 },
  { appName: "app", pri: 172 },
  { appName: "heroku", pri: 188 },
  { appName: "app", pri: 134 },
];

/** Bytes of one line; a longer one is split into pieces of this size, each a line of its own. */
export const LINE_LIMIT = 10_000;
