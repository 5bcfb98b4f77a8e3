import type { Logger } from "pino";
import type { FeedPublisher } from "../../wire/feed.ts";
import type { Route } from "../../wire/routes.ts";
import { Refresher } from "../refresher.ts";
import type { Store } from "../store/store.ts";
import type { Authority } from "./authority.ts";

/** How often certificates are looked through for those that expire. */
const LOOK_MS = 12 * 3_600_000;
const WILDCARD = "certificate:wildcard";

/**
 * Publishes certificates of the private CA for the apps' host names in the routes feed. `*.<app domain>` covers
 * what it can: clients refuse a wildcard right below a top-level name (`*.localhost`), and custom domains lie
 * elsewhere, so such a name has a certificate of its own. One a name, not one an app: the edge adds a name in
 * passing, but needs a new listener where the certificate of a known name changes.
 */
export interface RouteCertificates {
  /** The app's domains changed, or it is gone. */
  changed(appId: string): Promise<void>;
  close(): void;
}

export async function openRouteCertificates(
  store: Store,
  feed: FeedPublisher<Route>,
  authority: Authority,
  appDomain: string,
  log: Logger,
): Promise<RouteCertificates> {
  const wildcardServes = appDomain.includes(".");
  const publish = async (key: string, name: string, hosts: string[], fallback: boolean): Promise<void> => {
    const { certificate, key: pem } = await authority.certify(name, hosts);
    const there = feed.get(key);
    if (there?.kind === "certificate" && there.certificate === certificate) return;
    feed.update([[key, { kind: "certificate", id: name, hosts, certificate, key: pem, fallback }]]);
  };
  /** Whose each published host name is. */
  const owners = new Map<string, string>();
  const refresher = new Refresher(log, async (appId) => {
    const { rows } = await store.pool.query<{ hostname: string }>(
      "SELECT hostname FROM domains WHERE app_id = $1 AND (kind = 'custom' OR NOT $2) ORDER BY hostname",
      [appId, wildcardServes],
    );
    const hosts = new Set(rows.map((row) => row.hostname));
    for (const host of hosts) {
      owners.set(host, appId);
      await publish(`certificate:host:${host}`, `host:${host}`, [host], false);
    }
    for (const [host, owner] of owners) {
      if (owner !== appId || hosts.has(host)) continue;
      owners.delete(host);
      feed.update([], [`certificate:host:${host}`]);
      await authority.discard(`host:${host}`);
    }
  });
  const all = async (): Promise<void> => {
    await publish(WILDCARD, "wildcard", [`*.${appDomain}`, appDomain], true);
    const { rows } = await store.pool.query<{ id: string }>("SELECT id FROM apps ORDER BY number");
    for (const { id } of rows) await refresher.changed(id);
  };
  // What a kill left behind between a domain's end and its certificate's.
  await store.pool.query(
    "DELETE FROM certificates WHERE name LIKE 'host:%' AND substr(name, 6) NOT IN (SELECT hostname FROM domains)",
  );
  await all();
  const timer = setInterval(() => {
    all().catch((error) =>
      log.warn({ err: error }, "certificates could not be looked through; tried again later"),
    );
  }, LOOK_MS);
  timer.unref();
  return {
    changed: (appId) => refresher.changed(appId),
    close() {
      clearInterval(timer);
      refresher.close();
    },
  };
}
