import type { Logger } from "pino";
import { randomSecret } from "../config/environment.ts";
import type { FeedPublisher } from "../wire/feed.ts";
import type { AppLogSettings, LogSession, LogSetting } from "../wire/log-settings.ts";
import { ApiError } from "./errors.ts";
import { Refresher } from "./refresher.ts";
import type { Queryable, Store } from "./store/store.ts";

/** What the Logplex keeps of an app: Heroku's 1,500 lines, and a bound in bytes for apps with long ones. */
const RING_LINES = 1500;
const RING_BYTES = 4 * 1024 * 1024;
/** A session's URL can be opened for this long. */
const SESSION_MS = 5 * 60_000;
/** Unopened sessions of one app; each costs a record in the Logplex until it expires. */
const SESSIONS_AN_APP = 1000;

export type SessionRequest = Pick<LogSession, "tail" | "lines" | "source" | "dyno">;

/** Keeps the log settings feed equal to the store, and makes log sessions. */
export interface LogSettings {
  /** The app's name, drains or sources changed, or the app is gone. */
  changed(appId: string): Promise<void>;
  /** Makes a session; it survives this control. @throws ApiError 429 when the app has too many unopened ones. */
  openSession(
    appId: string,
    request: SessionRequest,
  ): Promise<{ id: string; createdAt: Date; token: string }>;
  close(): void;
}

/** Publishes every app and every open session, and from then on each change. */
export async function openLogSettings(
  store: Store,
  feed: FeedPublisher<LogSetting>,
  log: Logger,
): Promise<LogSettings> {
  const refresher = new Refresher(log, async (appId) => {
    const settings = await readSettings(store, store.pool, appId);
    if (settings) feed.update([[`app:${appId}`, settings]]);
    else if (feed.get(`app:${appId}`)) {
      const sessions = [...feed.entries()].filter(
        ([, entry]) => entry.kind === "session" && entry.app === appId,
      );
      feed.update([], [`app:${appId}`, ...sessions.map(([key]) => key)]);
    }
  });
  const expire = (token: string, at: number): void => {
    setTimeout(
      () => {
        feed.update([], [`session:${token}`]);
        store.pool.query("DELETE FROM log_sessions WHERE expires_at <= now()").catch(() => {});
      },
      Math.max(0, at - Date.now()),
    ).unref();
  };

  const { rows: apps } = await store.pool.query<{ id: string }>("SELECT id FROM apps");
  const all: [string, LogSetting][] = [];
  for (const { id } of apps) {
    const settings = await readSettings(store, store.pool, id);
    if (settings) all.push([`app:${id}`, settings]);
  }
  await store.pool.query("DELETE FROM log_sessions WHERE expires_at <= now()");
  for (const session of await readSessions(store)) {
    all.push([`session:${session.token}`, session]);
    expire(session.token, session.expires);
  }
  if (all.length > 0) feed.update(all);

  return {
    changed: (appId) => refresher.changed(appId),
    async openSession(appId, request) {
      const waiting = await store.pool.query<{ n: number }>(
        "SELECT count(*) AS n FROM log_sessions WHERE app_id = $1 AND expires_at > now()",
        [appId],
      );
      if (waiting.rows[0]!.n >= SESSIONS_AN_APP) {
        throw new ApiError(
          429,
          "rate_limit",
          `This app has ${SESSIONS_AN_APP} log sessions that nobody opened; open those, or wait 5 minutes.`,
        );
      }
      const token = randomSecret();
      const expires = Date.now() + SESSION_MS;
      const { id, createdAt } = await store.transaction(async (tx) => {
        const { rows } = await tx.query<{ id: string; createdAt: Date }>(
          `INSERT INTO log_sessions (app_id, token, tail, lines, source, dyno, expires_at)
           VALUES ($1, '', $2, $3, $4, $5, $6) RETURNING id, created_at AS "createdAt"`,
          [appId, request.tail, request.lines, request.source, request.dyno, new Date(expires)],
        );
        const row = rows[0]!;
        await tx.query("UPDATE log_sessions SET token = $2 WHERE id = $1", [
          row.id,
          store.seal(`log_sessions.token:${row.id}`, token),
        ]);
        return row;
      });
      feed.update([[`session:${token}`, { kind: "session", token, app: appId, ...request, expires }]]);
      expire(token, expires);
      return { id, createdAt, token };
    },
    close: () => refresher.close(),
  };
}

/** What the Logplex must know of one app; null when there is no such app. */
async function readSettings(store: Store, db: Queryable, appId: string): Promise<AppLogSettings | null> {
  const app = await db.query<{ name: string }>("SELECT name FROM apps WHERE id = $1", [appId]);
  if (!app.rows[0]) return null;
  const drains = await db.query<{ id: string; token: string; url: Buffer }>(
    "SELECT id, token, url FROM log_drains WHERE app_id = $1 ORDER BY created_at, id",
    [appId],
  );
  const sources = await db.query<{ id: string; name: string; token: Buffer }>(
    "SELECT id, name, token FROM log_sources WHERE app_id = $1 ORDER BY created_at, id",
    [appId],
  );
  return {
    kind: "app",
    app: appId,
    name: app.rows[0].name,
    lines: RING_LINES,
    bytes: RING_BYTES,
    drains: drains.rows.map(({ id, token, url }) => ({
      id,
      token,
      url: store.unseal(`log_drains.url:${id}`, url),
    })),
    sources: sources.rows.map(({ id, name, token }) => ({
      id,
      name,
      token: store.unseal(`log_sources.token:${id}`, token),
    })),
  };
}

async function readSessions(store: Store): Promise<LogSession[]> {
  const { rows } = await store.pool.query<{
    id: string;
    app_id: string;
    token: Buffer;
    tail: boolean;
    lines: number;
    source: string | null;
    dyno: string | null;
    expires_at: Date;
  }>("SELECT * FROM log_sessions WHERE expires_at > now()");
  return rows.map((row) => ({
    kind: "session",
    token: store.unseal(`log_sessions.token:${row.id}`, row.token),
    app: row.app_id,
    tail: row.tail,
    lines: row.lines,
    source: row.source,
    dyno: row.dyno,
    expires: row.expires_at.getTime(),
  }));
}
