import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pino } from "pino";
import { type Config, readConfig } from "../../../src/config/environment.ts";
import { type Layout, layoutOf } from "../../../src/config/layout.ts";
import { openAccounts } from "../../../src/control/accounts.ts";
import { RESOURCES } from "../../../src/control/api/resources.ts";
import { makeServer, type Register } from "../../../src/control/api/server.ts";
import type { Control } from "../../../src/control/control.ts";
import { openLeavings } from "../../../src/control/leavings.ts";
import { bindPort, serveHttp } from "../../../src/control/listeners.ts";
import { openLogSettings } from "../../../src/control/log-settings.ts";
import { RateLimit } from "../../../src/control/rate.ts";
import { openStore } from "../../../src/control/store/postgres.ts";
import { openAuthority } from "../../../src/control/tls/authority.ts";
import { openRouteCertificates } from "../../../src/control/tls/route-certificates.ts";
import { FeedPublisher } from "../../../src/wire/feed.ts";
import { startPostgres, type TestPostgres } from "../../postgres.ts";

export const KEY = "the-key-of-the-tests";
export const ACCEPT = "application/vnd.heroku+json; version=3";

/** What one answer was, its body read. */
export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into bodies of every shape.
  body: any;
}

/**
 * Control's API on a real port over a real PostgreSQL. The rooms that need a host (formation, builds) are
 * peers that keep what they were told, so a test sees what the API asks of them.
 */
export interface House {
  control: Control;
  config: Config;
  layout: Layout;
  postgres: TestPostgres;
  url: string;
  /** What the API asked of the formation and of builds, and the lines that it wrote to apps' logs. */
  asked: string[];
  lines: { app: string; text: string }[];
  /** Makes `forget` of builds fail while true, as when a disk refuses. */
  refuseForget: boolean;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  close(): Promise<void>;
}

export async function openHouse(
  env: Record<string, string> = {},
  resources: readonly Register[] = RESOURCES,
): Promise<House> {
  const home = mkdtempSync(path.join(os.tmpdir(), "sluice-api-"));
  const config = readConfig({ SLUICE_HOME: home, SLUICE_LOGPLEX_HTTP_PORT: "6515", ...env });
  const layout = layoutOf(home);
  mkdirSync(layout.control);
  const postgres = await startPostgres();
  const store = await openStore({ url: postgres.url, secret: "a secret of the tests" });
  const log = pino({ level: "silent" });
  const routes = new FeedPublisher<never>(store.epoch);
  const logSettings = new FeedPublisher<never>(store.epoch);
  const authority = await openAuthority(store, layout.caFile);
  const house = { asked: [] as string[], lines: [] as House["lines"], refuseForget: false };
  const control = {
    config,
    layout,
    log,
    store,
    accounts: await openAccounts(store, config.email, KEY),
    appLog: { api: (app: string, text: string) => void house.lines.push({ app, text }) },
    feeds: { routes, logSettings, orders: new FeedPublisher<never>(store.epoch) },
    links: { connected: () => ({ edge: 1, host: 1, logplex: 0 }) },
    rate: new RateLimit(),
    authority,
    routeCertificates: await openRouteCertificates(store, routes, authority, config.appDomain, log),
    logSettings: await openLogSettings(store, logSettings, log),
    formation: {
      publishRoute: async (app: string) => void house.asked.push(`publishRoute ${app}`),
      destroyed: async (app: string, uids: number[]) => void house.asked.push(`destroyed ${app} ${uids}`),
    },
    releases: { forget: async (ids: string[]) => void house.asked.push(`forget ${ids.length} releases`) },
    builds: {
      async forget(app: string) {
        if (house.refuseForget) throw new Error("not now");
        house.asked.push(`forget ${app}`);
      },
    },
  } as unknown as Control;
  control.leavings = await openLeavings(control);
  const { server, handler } = await makeServer(control, resources);
  const bound = await bindPort("127.0.0.1", 0);
  const listener = await serveHttp(bound, handler);
  const url = `http://127.0.0.1:${bound.port}`;
  return Object.assign(house, {
    control,
    config,
    layout,
    postgres,
    url,
    async call(method: string, target: string, body?: unknown, headers: Record<string, string> = {}) {
      const response = await fetch(url + target, {
        method,
        headers: {
          accept: ACCEPT,
          authorization: `Bearer ${KEY}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      });
      const text = await response.text();
      const json = response.headers.get("content-type")?.includes("json");
      return {
        status: response.status,
        headers: response.headers,
        body: json && text ? JSON.parse(text) : text,
      };
    },
    async close() {
      await listener.close();
      await server.close();
      control.leavings.close();
      control.logSettings.close();
      control.routeCertificates.close();
      await store.close();
      await postgres.stop();
      rmSync(home, { recursive: true, force: true });
    },
  });
}
