import { readFileSync } from "node:fs";
import path from "node:path";
import { type Config, ConfigError, readConfig } from "../config/environment.ts";
import { type Layout, layoutOf } from "../config/layout.ts";
import { canDropPrivilege } from "../config/users.ts";
import { checkout, markRunning } from "./checkout.ts";
import { offerClientSettings } from "./client-settings.ts";
import { untilWhole } from "./health.ts";
import { keepApiKey, makeFolders, makeSocketFolder, type Owners, openHome } from "./home.ts";
import { lockHome } from "./lock.ts";
import { npmRegistry } from "./npm-registry.ts";
import { portSettings, resolvePorts } from "./ports.ts";
import { Postgres } from "./postgres.ts";
import { findPostgres } from "./postgres-binaries.ts";
import { bindCode, bindHome, reachableByAll, removeSocketFolder, unbind } from "./reach.ts";
import { refusal, StartError } from "./start-error.ts";
import { Supervisor } from "./supervisor.ts";
import { makeSystemUsers } from "./system-users.ts";
import { readUpOptions, UP_HELP } from "./up-options.ts";

/** A Ctrl-C reaches this process from the terminal and once more through npm: within this time it is one. */
const SAME_SIGNAL_MS = 700;

const say = (line: string): void => {
  process.stderr.write(`sluice: ${line}\n`);
};

/** `sluice up`: the supervisor of one machine. Runs until it is told to stop; the process then exits. */
export async function up(args: string[]): Promise<void> {
  process.title = "sluice: supervisor";
  /** What has to be undone at the end, last made first. */
  const undo: (() => void)[] = [];
  const leave = (status: number): never => {
    for (const step of undo.reverse()) {
      try {
        step();
      } catch (error) {
        say((error as Error).message);
      }
    }
    process.exit(status);
  };
  let supervisor: Supervisor | null = null;
  let stopped: Promise<void> | null = null;
  onStopSignal((now) => {
    stopped ??= Promise.resolve();
    const stopping = supervisor?.stop(now) ?? Promise.resolve();
    stopped = stopping.then(() => leave(0));
  });
  try {
    const options = readUpOptions(args);
    if (!options) {
      process.stdout.write(UP_HELP);
      process.exit(0);
    }
    const env = { ...process.env, ...options };
    const config = readConfig(env);
    const registry = npmRegistry(env);
    const owners = await prepare(config, env, undo);
    const layout = layoutOf(config.home, env);
    const notes = new Set<string>();
    const note = (text: string): void => {
      if (!notes.has(text)) say(text);
      notes.add(text);
    };
    const reach = makeReachable(layout, owners, undo);
    const ports = await resolvePorts(portSettings(config));
    const key = keepApiKey(layout, env.SLUICE_API_KEY);
    const postgres = config.databaseUrl
      ? null
      : new Postgres(
          findPostgres(env.SLUICE_PG_BIN, reach.code, layout.pg),
          layoutOf(reach.home, { ...env, SLUICE_SOCKETS: layout.sockets }),
          owners?.control ?? null,
          say,
        );
    const npm_config_registry = await registry;
    const partsEnv = {
      ...env,
      ...(npm_config_registry && { npm_config_registry }),
      ...ports,
      ...absolute(config),
      SLUICE_HOME: reach.home,
      SLUICE_SOCKETS: layout.sockets,
      SLUICE_API_KEY: key,
      DATABASE_URL: config.databaseUrl ?? postgres?.url,
    };
    if (stopped) return;
    supervisor = new Supervisor(config, postgres, reach.code, partsEnv, say, (texts) => texts.forEach(note));
    await supervisor.start();
    if (stopped) return;
    const api = `http://${urlHost(config.api.host)}:${ports.SLUICE_API_PORT}`;
    await untilWhole(`${api}/health`);
    if (stopped) return;
    const tls = `https://${urlHost(config.api.host)}:${ports.SLUICE_API_TLS_PORT}`;
    const left = offerClientSettings(env.HOME, { url: api, key, ca: layout.caFile, tlsUrl: tls });
    if (left) note(left);
    process.stdout.write(
      `ready edge=http://${urlHost(config.edge.host)}:${ports.SLUICE_EDGE_PORT} api=${api} ` +
        `tls=${tls} key=${layout.apiKeyFile}\n`,
    );
  } catch (error) {
    if (stopped) return;
    const known = error instanceof StartError || error instanceof ConfigError ? error : refusal(error);
    say(known ? known.message : `start failed: ${error instanceof Error ? error.stack : error}`);
    stopped = (supervisor?.stop() ?? Promise.resolve()).then(() => leave(1));
  }
}

/** Home, lock, users and folders, in the order in which each is safe. Returns the owners of the folders, as root. */
async function prepare(config: Config, env: NodeJS.ProcessEnv, undo: (() => void)[]): Promise<Owners | null> {
  const asRoot = canDropPrivilege();
  openHome(config.home, asRoot);
  undo.push(lockHome(config.home));
  undo.push(markRunning());
  const users = asRoot ? makeSystemUsers() : null;
  const owners = users && {
    control: users.sluice,
    edge: users["sluice-edge"],
    logplex: users["sluice-logplex"],
  };
  const layout = layoutOf(config.home, env);
  makeSocketFolder(layout.sockets, owners);
  undo.push(() => removeSocketFolder(layout.sockets));
  makeFolders(layout, owners);
  return owners;
}

/** Home and code as the parts' users can reach them; as root, what they cannot walk to is bound below /run. */
function makeReachable(
  layout: Layout,
  owners: Owners | null,
  undo: (() => void)[],
): { home: string; code: string } {
  if (!owners) {
    say(
      "not started as root: all parts and dynos run as this one user, apart only by namespaces where the kernel allows them.",
    );
    return { home: layout.home, code: checkout };
  }
  unbind(layout.sockets);
  undo.push(() => unbind(layout.sockets));
  return {
    home: reachableByAll(layout.home) ? layout.home : bindHome(layout.home, layout.sockets),
    code: reachableByAll(path.join(checkout, "dist")) ? checkout : bindCode(checkout, layout.sockets),
  };
}

/** Settings that were relative to the working directory, for parts that run in another. */
const absolute = (config: Config): NodeJS.ProcessEnv => ({
  ...(config.stackDir && { SLUICE_STACK_DIR: config.stackDir }),
  ...(config.buildpackPath.length > 0 && { SLUICE_BUILDPACK_PATH: config.buildpackPath.join(":") }),
  ...(process.env.SLUICE_UWS && { SLUICE_UWS: path.resolve(process.env.SLUICE_UWS) }),
});

/** A host as a client on this machine writes it in a URL. */
const urlHost = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
};

/**
 * Calls `stop` at SIGINT, SIGTERM and SIGHUP, however often they come. `now` only for a second Ctrl-C of a
 * person at a terminal.
 */
function onStopSignal(stop: (now: boolean) => void): void {
  let first = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (first === 0) {
      first = Date.now();
      stop(false);
    } else if (signal === "SIGINT" && process.stdin.isTTY && Date.now() - first > SAME_SIGNAL_MS) stop(true);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  // Under nohup the terminal's end is none of Sluice's: a signal that was ignored stays ignored.
  if (!isIgnored(1)) process.on("SIGHUP", onSignal);
}

/** True when this process was started with signal `number` ignored. */
function isIgnored(number: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(number - 1)) & 1n) === 1n;
}
