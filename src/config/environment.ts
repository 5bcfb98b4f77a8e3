import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import path from "node:path";

/** The size of dyno that a formation row names; memory in bytes, CPU as a relative share. */
export interface DynoSize {
  /** Heroku's spelling, used in answers and log lines. */
  name: string;
  memoryBytes: number;
  processes: number;
  cpuShares: number;
}

/** Every setting of Sluice, read once from the environment by each part. Ports are TCP ports; 0 takes a free one. */
export interface Config {
  /** Absolute path of SLUICE_HOME. */
  home: string;
  edge: { host: string; port: number; tlsPort: number; workers: number };
  api: {
    host: string;
    port: number;
    tlsPort: number;
    /** Further host names and addresses that the API is called by, for its certificate. */
    names: string[];
    /** The operator's own certificate chain and key, as files. */
    tlsFiles: { certificate: string; key: string } | null;
  };
  rendezvousPort: number;
  logplex: { syslogPort: number; httpPort: number; host: string };
  /** App host names are `<app>.<appDomain>`. */
  appDomain: string;
  /** The operator's PostgreSQL; null: a private one under the home. */
  databaseUrl: string | null;
  runtime: "process" | "docker" | "swarm";
  dynoNetwork: "own" | "host";
  dynoNet: string;
  /** Ports of this machine that boxes may reach. */
  dynoAllow: number[];
  /** A root file system for boxes in place of the machine's /usr. */
  stackDir: string | null;
  /** Folders below which a buildpack may be named by path, the shipped one left out. */
  buildpackPath: string[];
  /** Bytes that a packed slug may have (Heroku's limit is 500 MB). */
  slugLimit: number;
  /** How long a build may run (Heroku: 15 minutes). */
  buildSeconds: number;
  drainBuffer: number;
  /** Dynos of one app, all its process types together (Heroku's limit is 100). */
  dynosPerApp: number;
  /** Drains that an app may have. */
  drainsAnApp: number;
  drainAllowPrivate: boolean;
  fetchAllowPrivate: boolean;
  email: string;
  logLevel: string;
}

/** A setting that cannot be used; the message names the variable and says what it may be. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");

function tlsFiles(env: NodeJS.ProcessEnv, cwd: string): Config["api"]["tlsFiles"] {
  const { SLUICE_API_TLS_CERT: certificate, SLUICE_API_TLS_KEY: key } = env;
  if (!certificate && !key) return null;
  if (!certificate || !key) {
    throw new ConfigError(
      "SLUICE_API_TLS_CERT and SLUICE_API_TLS_KEY go together; give both files, or neither for Sluice's own certificate.",
    );
  }
  return { certificate: path.resolve(cwd, certificate), key: path.resolve(cwd, key) };
}

/**
 * Reads the settings of design section 12 from `env`; unset ones take their defaults.
 * @throws ConfigError naming the first variable whose value cannot be used.
 */
export function readConfig(env: NodeJS.ProcessEnv, cwd: string = process.cwd()): Config {
  const text = (name: string, fallback: string): string => env[name] || fallback;
  const whole = (name: string, fallback: number, max: number): number => {
    const value = env[name];
    if (!value) return fallback;
    const number = Number(value);
    if (!Number.isInteger(number) || number < 0 || number > max) {
      throw new ConfigError(`${name} is "${value}"; it must be a whole number from 0 to ${max}.`);
    }
    return number;
  };
  const port = (name: string, fallback: number): number => whole(name, fallback, 65535);
  const oneOf = <T extends string>(name: string, values: readonly T[], fallback: T): T => {
    const value = env[name];
    if (!value) return fallback;
    if (!(values as readonly string[]).includes(value)) {
      throw new ConfigError(`${name} is "${value}"; it must be one of ${values.join(", ")}.`);
    }
    return value as T;
  };
  const runtime = oneOf("SLUICE_RUNTIME", ["process", "docker", "swarm"] as const, "process");
  if (runtime !== "process") {
    throw new ConfigError(
      `SLUICE_RUNTIME is "${runtime}"; this version runs dynos as processes of this machine only, so leave it out.`,
    );
  }
  const edgeHost = text("SLUICE_EDGE_HOST", "127.0.0.1");
  const apiHost = text("SLUICE_API_HOST", "127.0.0.1");
  const allowPrivate = (name: string): boolean =>
    env[name] ? env[name] === "1" : isLoopback(edgeHost) && isLoopback(apiHost);
  const cores = availableParallelism();
  return {
    home: path.resolve(cwd, text("SLUICE_HOME", ".sluice")),
    edge: {
      host: edgeHost,
      port: port("SLUICE_EDGE_PORT", 8080),
      tlsPort: port("SLUICE_EDGE_TLS_PORT", 8443),
      workers: whole("SLUICE_EDGE_WORKERS", cores, 256) || cores,
    },
    api: {
      host: apiHost,
      port: port("SLUICE_API_PORT", 5000),
      tlsPort: port("SLUICE_API_TLS_PORT", 5443),
      names: text("SLUICE_API_NAMES", "")
        .split(",")
        .map((name) => name.trim().toLowerCase())
        .filter(Boolean),
      tlsFiles: tlsFiles(env, cwd),
    },
    rendezvousPort: port("SLUICE_RENDEZVOUS_PORT", 5444),
    logplex: {
      syslogPort: port("SLUICE_LOGPLEX_PORT", 6514),
      httpPort: port("SLUICE_LOGPLEX_HTTP_PORT", 6515),
      host: text("SLUICE_LOGPLEX_HOST", apiHost),
    },
    appDomain: text("SLUICE_APP_DOMAIN", "localhost").toLowerCase(),
    databaseUrl: env.DATABASE_URL || null,
    runtime,
    dynoNetwork: oneOf("SLUICE_DYNO_NETWORK", ["own", "host"] as const, "own"),
    dynoNet: text("SLUICE_DYNO_NET", "10.208.0.0/16"),
    dynoAllow: text("SLUICE_DYNO_ALLOW", "")
      .split(",")
      .filter(Boolean)
      .map((value) => {
        const number = Number(value);
        if (!Number.isInteger(number) || number < 1 || number > 65535) {
          throw new ConfigError(`SLUICE_DYNO_ALLOW holds "${value}"; it must be ports separated by commas.`);
        }
        return number;
      }),
    stackDir: env.SLUICE_STACK_DIR ? path.resolve(cwd, env.SLUICE_STACK_DIR) : null,
    buildpackPath: text("SLUICE_BUILDPACK_PATH", "")
      .split(":")
      .filter(Boolean)
      .map((folder) => path.resolve(cwd, folder)),
    dynosPerApp: whole("SLUICE_APP_DYNOS", 100, 10_000),
    buildSeconds: whole("SLUICE_BUILD_TIMEOUT", 900, 86_400) || 900,
    slugLimit: (whole("SLUICE_SLUG_LIMIT", 500, 100_000) || 500) * 1024 * 1024,
    drainBuffer: whole("SLUICE_DRAIN_BUFFER", 1024, 1_000_000) || 1024,
    drainsAnApp: whole("SLUICE_DRAINS_AN_APP", 5, 1000) || 5,
    drainAllowPrivate: allowPrivate("SLUICE_DRAIN_ALLOW_PRIVATE"),
    fetchAllowPrivate: allowPrivate("SLUICE_FETCH_ALLOW_PRIVATE"),
    email: text("SLUICE_EMAIL", "admin@localhost"),
    logLevel: text("SLUICE_LOG_LEVEL", "warn"),
  };
}

const MiB = 1024 * 1024;

/** The dyno sizes of design section 12, by lower-case name. */
export const DYNO_SIZES: ReadonlyMap<string, DynoSize> = new Map(
  (
    [
      ["Eco", 512, 256, 1],
      ["Basic", 512, 256, 1],
      ["Standard-1X", 512, 256, 1],
      ["Standard-2X", 1024, 512, 2],
      ["Performance-M", 2560, 16384, 12],
      ["Performance-L", 14336, 32768, 50],
    ] as const
  ).map(([name, memory, processes, cpuShares]) => [
    name.toLowerCase(),
    { name, memoryBytes: memory * MiB, processes, cpuShares },
  ]),
);

export const DEFAULT_SIZE = "Basic";

/** A secret of `bytes` random bytes in base64url; for keys and capability URLs, never hyperid's. */
export const randomSecret = (bytes = 32): string => randomBytes(bytes).toString("base64url");
