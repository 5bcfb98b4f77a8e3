import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { readConfig } from "../../../src/config/environment.ts";
import { type Layout, layoutOf } from "../../../src/config/layout.ts";
import { openAccounts } from "../../../src/control/accounts.ts";
import * as configVars from "../../../src/control/api/config-vars.ts";
import * as dynos from "../../../src/control/api/dynos.ts";
import * as formation from "../../../src/control/api/formation.ts";
import * as releases from "../../../src/control/api/releases.ts";
import { makeServer } from "../../../src/control/api/server.ts";
import type { Control } from "../../../src/control/control.ts";
import { createFormation, type FormationClocks } from "../../../src/control/formation/keeper.ts";
import { createHosts } from "../../../src/control/hosts.ts";
import { openLinks } from "../../../src/control/links.ts";
import { bindPort, serveHttp } from "../../../src/control/listeners.ts";
import { RateLimit } from "../../../src/control/rate.ts";
import { createReleases } from "../../../src/control/releases/ledger.ts";
import { openRendezvous } from "../../../src/control/rendezvous/rendezvous.ts";
import { openStore } from "../../../src/control/store/postgres.ts";
import { openAuthority } from "../../../src/control/tls/authority.ts";
import { FeedPublisher } from "../../../src/wire/feed.ts";

export const KEY = "the-key-of-the-tests";
const SECRET = "a secret of the tests";

/** A home with its sockets' folder, gone at `close`. */
export interface Home {
  path: string;
  layout: Layout;
  close(): void;
}

export function makeHome(): Home {
  const home = mkdtempSync(path.join(os.tmpdir(), "sluice-formation-"));
  for (const folder of ["control", "sockets"]) mkdirSync(path.join(home, folder));
  const layout = layoutOf(home, { SLUICE_SOCKETS: path.join(home, "sockets") });
  return { path: home, layout, close: () => rmSync(home, { recursive: true, force: true }) };
}

/** Control's rooms that this suite is about, over a real store and real links, with the API on a port. */
export interface Rooms {
  control: Control;
  url: string;
  /** `name: text` of every line that control wrote to an app's log. */
  lines: string[];
  close(): Promise<void>;
}

export async function openRooms(
  home: Home,
  databaseUrl: string,
  clocks: FormationClocks = {},
): Promise<Rooms> {
  const { layout } = home;
  const config = readConfig({ SLUICE_HOME: home.path });
  const links = await openLinks(layout);
  const store = await openStore({ url: databaseUrl, secret: SECRET });
  const feeds = {
    routes: new FeedPublisher<never>(store.epoch),
    orders: new FeedPublisher<never>(store.epoch),
    logSettings: new FeedPublisher<never>(store.epoch),
  };
  const lines: string[] = [];
  const hosts = createHosts(feeds.orders);
  const authority = await openAuthority(store, layout.caFile);
  const { certificate: cert, key } = await authority.certify("api", ["127.0.0.1", "localhost"]);
  const rendezvous = await openRendezvous(await bindPort("127.0.0.1", 0), "127.0.0.1", { cert, key });
  const control = {
    config,
    layout,
    log: pino({ level: "silent" }),
    store,
    accounts: await openAccounts(store, config.email, KEY),
    appLog: {
      api: (_app: string, text: string) => void lines.push(`api: ${text}`),
      platform: (_app: string, dyno: string, text: string) => void lines.push(`${dyno}: ${text}`),
      output: (_app: string, dyno: string, line: Uint8Array) =>
        void lines.push(`${dyno}: ${Buffer.from(line)}`),
    },
    feeds,
    links,
    rate: new RateLimit(),
    hosts,
    authority,
    rendezvous,
  } as unknown as Control;
  control.releases = createReleases(control);
  control.formation = createFormation(control, clocks);
  await control.releases.start();
  await control.formation.start();
  links.serve({ ...feeds, hosts }, control.formation.adopted);
  const { server, handler } = await makeServer(
    control,
    [configVars, dynos, formation, releases].map(({ register }) => register),
  );
  const bound = await bindPort("127.0.0.1", 0);
  const listener = await serveHttp(bound, handler);
  return {
    control,
    lines,
    url: `http://127.0.0.1:${bound.port}`,
    async close() {
      await listener.close();
      await server.close();
      await control.formation.close();
      await control.releases.stop();
      await rendezvous.close();
      hosts.close();
      await links.close();
      await store.close();
    },
  };
}

/** The same rooms as a process of their own, to be killed. */
export interface RoomsProcess {
  url: string;
  kill(): Promise<void>;
}

export async function spawnRooms(home: Home, databaseUrl: string, drainMs: number): Promise<RoomsProcess> {
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      ROOMS_HOME: home.path,
      ROOMS_STORE: databaseUrl,
      ROOMS_DRAIN: String(drainMs),
    },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once("message", (message) => resolve(String(message)));
    void exit.then(() => reject(new Error("The rooms ended before they served.")));
  });
  return {
    url,
    async kill() {
      child.kill("SIGKILL");
      await exit;
    },
  };
}

if (process.env.ROOMS_HOME && process.argv[1] === fileURLToPath(import.meta.url)) {
  const { ROOMS_HOME, ROOMS_STORE, ROOMS_DRAIN } = process.env;
  const layout = layoutOf(ROOMS_HOME, { SLUICE_SOCKETS: path.join(ROOMS_HOME, "sockets") });
  const rooms = await openRooms({ path: ROOMS_HOME, layout, close: () => {} }, ROOMS_STORE!, {
    drainMs: Number(ROOMS_DRAIN),
  });
  process.send!(rooms.url);
  process.on("disconnect", () => process.exit());
}

/** Calls the API; the answer's body is read as JSON when it is some. */
export async function call(
  url: string,
  method: string,
  target: string,
  body?: unknown,
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into bodies of every shape.
): Promise<{ status: number; body: any }> {
  const response = await fetch(url + target, {
    method,
    headers: {
      accept: "application/vnd.heroku+json; version=3",
      authorization: `Bearer ${KEY}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return {
    status: response.status,
    body: text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text,
  };
}

/** Adds an app with its first release, as POST /apps does. */
export async function addApp({ control }: Rooms, name: string): Promise<string> {
  const { owner } = control.accounts;
  const id = randomUUID();
  await control.store.transaction(async (tx) => {
    await tx.query(
      "INSERT INTO apps (id, name, owner_id, stack, build_stack) VALUES ($1, $2, $3, 'heroku-22', 'heroku-22')",
      [id, name, owner.id],
    );
    await tx.query("INSERT INTO domains (app_id, hostname, kind) VALUES ($1, $2, 'heroku')", [
      id,
      `${name}.localhost`,
    ]);
  });
  await control.releases.create(id, owner, "Initial release", {});
  return id;
}

/** Adds a slug whose archive is said to be there; the peer host runs its commands as they are. */
export async function addSlug(
  { control }: Rooms,
  appId: string,
  processTypes: Record<string, string>,
): Promise<string> {
  const id = randomUUID();
  await control.store.pool.query(
    `INSERT INTO slugs (id, app_id, sha256, size, process_types, stack, commit)
     VALUES ($1, $2, $3, 1, $4, 'heroku-22', $5)`,
    [id, appId, "0".repeat(64), JSON.stringify(processTypes), id.replaceAll("-", "")],
  );
  return id;
}

/** Deploys a slug of these process types; returns the release. */
export async function deploy(rooms: Rooms, appId: string, processTypes: Record<string, string>) {
  const slugId = await addSlug(rooms, appId, processTypes);
  return rooms.control.releases.create(appId, rooms.control.accounts.owner, `Deploy ${slugId.slice(0, 8)}`, {
    slugId,
  });
}

/** A web command that answers every request with `text`. */
export const web = (text: string): string =>
  `exec node -e 'require("http").createServer((q, r) => r.end("${text}")).listen(process.env.PORT, "127.0.0.1")'`;

/** A worker that sleeps. */
export const WORKER = "exec sleep 1000";
