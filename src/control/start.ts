import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Logger } from "pino";
import { type Config, randomSecret } from "../config/environment.ts";
import { type Layout, socketPath } from "../config/layout.ts";
import type { Part } from "../config/part.ts";
import { dropPrivilege } from "../config/users.ts";
import { FeedPublisher } from "../wire/feed.ts";
import { createLogSender } from "../wire/log-sender.ts";
import { openAccounts } from "./accounts.ts";
import { RESOURCES } from "./api/resources.ts";
import { makeServer } from "./api/server.ts";
import { createAppLog } from "./app-log.ts";
import { openBuilds } from "./builds/builder.ts";
import type { Control } from "./control.ts";
import { makeDiagnostics } from "./diagnostics.ts";
import { renewOwnHostnames } from "./domains.ts";
import { createFormation } from "./formation/keeper.ts";
import { createHosts } from "./hosts.ts";
import { openLeavings } from "./leavings.ts";
import { type Links, openLinks } from "./links.ts";
import { type BoundPort, bindPort, type Listener, serveHttp } from "./listeners.ts";
import { openLogSettings } from "./log-settings.ts";
import { RateLimit } from "./rate.ts";
import { createReleases } from "./releases/ledger.ts";
import { openRendezvous } from "./rendezvous/rendezvous.ts";
import { type Migration, readMigrations } from "./store/migrate.ts";
import { isStoreDown, openStore } from "./store/postgres.ts";
import { readSecret } from "./store/secrets.ts";
import type { Store } from "./store/store.ts";
import { keepApiCertificate, type Pem, readOperatorPem } from "./tls/api-certificate.ts";
import { openAuthority } from "./tls/authority.ts";
import { openRouteCertificates } from "./tls/route-certificates.ts";

/** A store that is away when control starts is waited for this long. */
const STORE_WAIT_MS = 30_000;
const STORE_RETRY_MS = 100;
/** At the end: the last log lines are acknowledged, and the store's connections close, within this. */
const FAREWELL_MS = 1500;

interface Ports {
  http: BoundPort;
  https: BoundPort;
  rendezvous: BoundPort;
}

/**
 * Starts control: ports and sockets are bound and files of root's read first, then privilege is dropped, then
 * the store is opened and the rooms are made in the order of `Control`. Resolves when the API serves.
 * @throws Error with one sentence when a port is taken, the store cannot be used, or a setting is missing.
 */
export async function startControl(config: Config, layout: Layout): Promise<Part> {
  const ports = await bindPorts(config);
  let links: Links | null = null;
  try {
    links = await openLinks(layout);
    const key = readKey(layout);
    const operatorPem = readOperatorPem(config);
    const migrations = readMigrations();
    dropPrivilege("sluice");
    const log = makeDiagnostics(config.logLevel, [key]);
    process.on("unhandledRejection", (error) => log.error({ err: error }, "a promise was left unhandled"));
    const store = await reachStore(config, layout, migrations);
    return await furnish({ config, layout, log, store, links }, ports, key, operatorPem);
  } catch (error) {
    for (const port of Object.values(ports)) port.close();
    await links?.close();
    throw error;
  }
}

async function bindPorts(config: Config): Promise<Ports> {
  const bound: BoundPort[] = [];
  try {
    for (const port of [config.api.port, config.api.tlsPort, config.rendezvousPort]) {
      bound.push(await bindPort(config.api.host, port));
    }
  } catch (error) {
    for (const port of bound) port.close();
    throw error;
  }
  return { http: bound[0]!, https: bound[1]!, rendezvous: bound[2]! };
}

/** The owner's API key: SLUICE_API_KEY, else what the key file holds; made when there is none. */
function readKey(layout: Layout): string {
  const given = process.env.SLUICE_API_KEY;
  // Programs that control runs, and their crash reports, have no need of it.
  delete process.env.SLUICE_API_KEY;
  if (given) return given;
  try {
    writeFileSync(layout.apiKeyFile, `${randomSecret()}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return readFileSync(layout.apiKeyFile, "utf8").trim();
}

/** Opens the store, and waits for one that is just starting or recovering. */
async function reachStore(config: Config, layout: Layout, migrations: readonly Migration[]): Promise<Store> {
  const url = config.databaseUrl;
  if (!url) {
    throw new Error(
      "DATABASE_URL is not set; `sluice up` runs a private PostgreSQL and sets it, `sluice control` alone needs yours.",
    );
  }
  const secret = readSecret(process.env, path.join(layout.control, "secret-key"));
  delete process.env.SLUICE_SECRET_KEY;
  delete process.env.DATABASE_URL;
  const until = Date.now() + STORE_WAIT_MS;
  for (;;) {
    try {
      return await openStore({ url, secret, migrations });
    } catch (error) {
      if (!isStoreDown(error)) throw error;
      if (Date.now() > until) {
        throw new Error(
          `The store did not answer for ${STORE_WAIT_MS / 1000} s (${(error as Error).message}); see that PostgreSQL runs and DATABASE_URL names it.`,
        );
      }
      await pause(STORE_RETRY_MS);
    }
  }
}

/** Makes every room, opens the links, and serves the API. */
async function furnish(
  base: { config: Config; layout: Layout; log: Logger; store: Store; links: Links },
  ports: Ports,
  key: string,
  operatorPem: Pem | null,
): Promise<Part> {
  const { config, layout, log, store, links } = base;
  const sender = createLogSender(socketPath(layout, "logplex-control"));
  const feeds: Control["feeds"] = {
    routes: new FeedPublisher(store.epoch),
    orders: new FeedPublisher(store.epoch),
    logSettings: new FeedPublisher(store.epoch),
  };
  const hosts = createHosts(feeds.orders);
  await renewOwnHostnames(store.pool, config.appDomain);
  const authority = await openAuthority(store, layout.caFile);
  const listeners: Listener[] = [];
  const renew = (pem: Pem): void => {
    rendezvous.renew(pem);
    for (const listener of listeners) listener.renew(pem);
  };
  const certificate = operatorPem
    ? { pem: operatorPem, close: () => {} }
    : await keepApiCertificate(authority, config, log, renew);
  const rendezvous = await openRendezvous(ports.rendezvous, calledAt(config), certificate.pem);
  const rooms = {
    ...base,
    accounts: await openAccounts(store, config.email, key),
    appLog: createAppLog(sender),
    feeds,
    authority,
    routeCertificates: await openRouteCertificates(store, feeds.routes, authority, config.appDomain, log),
    logSettings: await openLogSettings(store, feeds.logSettings, log),
    rate: new RateLimit(),
    hosts,
    rendezvous,
  };
  const formation = createFormation(rooms);
  const releases = createReleases({ ...rooms, formation });
  const builds = await openBuilds({ ...rooms, formation, releases });
  await releases.start();
  await formation.start();
  links.serve({ routes: feeds.routes, logSettings: feeds.logSettings, hosts }, formation.adopted);
  const leavings = await openLeavings({ ...rooms, formation, releases, builds });
  const control: Control = { ...rooms, formation, releases, builds, leavings };

  const { server, handler } = await makeServer(control, RESOURCES);
  listeners.push(await serveHttp(ports.http, handler));
  listeners.push(await serveHttp(ports.https, handler, certificate.pem));
  return {
    ports: {
      http: ports.http.port,
      https: ports.https.port,
      rendezvous: ports.rendezvous.port,
    },
    notes: [],
    async stop(now = false) {
      if (now) return;
      await Promise.all([...listeners.map((listener) => listener.close()), builds.stop()]);
      await releases.stop();
      await formation.close();
      leavings.close();
      rooms.logSettings.close();
      rooms.routeCertificates.close();
      certificate.close();
      await rendezvous.close();
      hosts.close();
      await links.close();
      await sender.close(FAREWELL_MS);
      await server.close();
      await Promise.race([store.close(), pause(FAREWELL_MS, undefined, { ref: false })]);
    },
  };
}

/** The host name that clients of the rendezvous are told. */
function calledAt({ api }: Config): string {
  const everywhere = api.host === "0.0.0.0" || api.host === "::";
  return everywhere ? (api.names[0] ?? "127.0.0.1") : api.host === "localhost" ? "127.0.0.1" : api.host;
}
