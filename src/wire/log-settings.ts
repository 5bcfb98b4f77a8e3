/** What the Logplex knows of an app: record of the log settings feed, keyed `app:<app id>`. */
export interface AppLogSettings {
  kind: "app";
  app: string;
  name: string;
  /** Lines and bytes that the ring keeps. */
  lines: number;
  bytes: number;
  drains: DrainSettings[];
  sources: LogSourceSettings[];
}

export interface DrainSettings {
  id: string;
  /** `d.<uuid>` */
  token: string;
  /** syslog://, syslog+tls://, https:// or http://, with its credentials. */
  url: string;
}

/** An outside log source: whoever holds the token may write lines shown as `app[<name>]`. */
export interface LogSourceSettings {
  id: string;
  name: string;
  token: string;
}

/** A log session is opened by `GET <SESSION_PATH><token>` on the Logplex's HTTP port. */
export const SESSION_PATH = "/sessions/";

/** A log session, keyed `session:<token>`; removed by control when it expires unopened. */
export interface LogSession {
  kind: "session";
  token: string;
  app: string;
  tail: boolean;
  lines: number;
  /** `app` or `heroku`; null: both. */
  source: string | null;
  /** `web.1`, or `web` for all of the type; null: all. */
  dyno: string | null;
  /** Milliseconds since the epoch after which it can no longer be opened. */
  expires: number;
}

export type LogSetting = AppLogSettings | LogSession;
