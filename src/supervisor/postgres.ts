import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import type { Layout } from "../config/layout.ts";
import type { UserIds } from "../config/users.ts";
import { Backoff } from "./backoff.ts";
import { startTime } from "./checkout.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { StartError } from "./start-error.ts";

/** Recovery after a kill -9 replays at most the write-ahead log of one checkpoint: seconds. */
const START_MS = 60_000;
const STATUS_POLL_MS = 5;
/** A fast shutdown writes a checkpoint; after this long it is cut short, and the next start recovers. */
const STOP_MS = 4_000;

/** Small buffers: the store holds rows of apps and releases, never the requests. */
const SETTINGS = {
  listen_addresses: "",
  unix_socket_permissions: "0700",
  shared_buffers: "16MB",
  max_connections: "60",
  max_worker_processes: "2",
  max_parallel_workers_per_gather: "0",
  max_logical_replication_workers: "0",
  wal_buffers: "1MB",
  min_wal_size: "32MB",
  max_wal_size: "128MB",
  fsync: "on",
  jit: "off",
  log_checkpoints: "off",
  // Statements may hold what users sent: they are never in a log line.
  log_min_error_statement: "panic",
};

/** The private PostgreSQL of one home: its own session and user, a Unix socket only, started anew when it dies. */
export class Postgres {
  #binaries: PostgresBinaries;
  #data: string;
  #sockets: string;
  #user: UserIds | null;
  #child: ChildProcess | null = null;
  #stopping = false;
  #backoff = new Backoff();
  #say: (line: string) => void;

  /** @param user whom it runs as; null: this process's user. */
  constructor(binaries: PostgresBinaries, layout: Layout, user: UserIds | null, say: (line: string) => void) {
    this.#binaries = binaries;
    this.#data = layout.pg;
    this.#sockets = path.join(layout.sockets, "pg");
    this.#user = user;
    this.#say = say;
  }

  /** How control reaches it: peer authentication on the Unix socket, so no password. */
  get url(): string {
    return `postgresql://sluice@/sluice?host=${encodeURIComponent(this.#sockets)}`;
  }

  /**
   * Makes the data directory at the first start, ends a server that an earlier, killed supervisor left behind,
   * and starts. Resolves when connections are taken.
   * @throws StartError when it does not come up.
   */
  async start(): Promise<void> {
    if (existsSync(path.join(this.#data, "PG_VERSION"))) await this.#endOrphan();
    else this.#make();
    this.#allowUser();
    mkdirSync(this.#sockets, { recursive: true, mode: 0o700 });
    this.#own(this.#sockets);
    await this.#run();
  }

  /** Fast shutdown: sessions are ended, everything is written. With `now` it is cut short; nothing is lost then either. */
  async stop(now = false): Promise<void> {
    this.#stopping = true;
    this.#backoff.cancel();
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((exit) => child.once("exit", exit));
    child.kill(now ? "SIGQUIT" : "SIGINT");
    const hurry = setTimeout(() => child.kill("SIGQUIT"), STOP_MS);
    const kill = setTimeout(() => child.kill("SIGKILL"), STOP_MS + 1000);
    await gone;
    clearTimeout(hurry);
    clearTimeout(kill);
  }

  /** Made beside its place and moved there when whole, so that a start cut short leaves nothing half-made. */
  #make(): void {
    const making = `${this.#data}.making`;
    rmSync(making, { recursive: true, force: true });
    mkdirSync(making, { mode: 0o700 });
    this.#own(making);
    const options = [
      "--auth-local=peer",
      "--auth-host=reject",
      "--encoding=UTF8",
      "--locale=C",
      "--no-instructions",
    ];
    this.#runOnce("initdb", [...options, "--username=sluice", "--pgdata", making], "");
    // Single-user mode needs no server and no login.
    this.#runOnce("postgres", ["--single", "-D", making, "postgres"], "CREATE DATABASE sluice\n");
    appendFileSync(
      path.join(making, "postgresql.conf"),
      `\n# Sluice's settings\n${Object.entries(this.#settings())
        .map(([name, value]) => `${name} = '${value}'\n`)
        .join("")}`,
    );
    // The map lets the system user, whatever its name, be the role `sluice`.
    writeFileSync(
      path.join(making, "pg_hba.conf"),
      "# The Unix socket only, and only the user that the server runs as (pg_ident.conf).\nlocal all all peer map=sluice\n",
    );
    rmSync(this.#data, { recursive: true, force: true });
    renameSync(making, this.#data);
  }

  #settings(): Record<string, string> {
    // Its pool of reading processes is for disks under load; this store fits in memory.
    return this.#binaries.major >= 18 ? { ...SETTINGS, io_method: "sync" } : SETTINGS;
  }

  #runOnce(program: string, args: string[], input: string): void {
    const { status, stdout, stderr, error } = spawnSync(path.join(this.#binaries.bin, program), args, {
      ...this.#identity(),
      cwd: "/",
      input,
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C" },
    });
    const output = `${stdout ?? ""}\n${stderr ?? ""}`;
    // Single-user mode exits 0 even when a statement failed.
    if (status === 0 && !/^.*(ERROR|FATAL|PANIC):/m.test(output)) return;
    throw failure(error ? error.message : output, `${program} (the private PostgreSQL's) failed`);
  }

  /** Which system user may be the role `sluice`; written at each start, since a home may change its owner. */
  #allowUser(): void {
    const name = this.#user ? "sluice" : userInfo().username;
    const file = path.join(this.#data, "pg_ident.conf");
    writeFileSync(file, `sluice "${name}" sluice\n`, { mode: 0o600 });
    this.#own(file);
  }

  /** Stops the server of a supervisor that was killed: two on one data directory would harm it. */
  async #endOrphan(): Promise<void> {
    const pid = Number(this.#pidFile()[0]);
    if (!pid || !this.#isOurs(pid)) return;
    this.#say(`the store of an earlier start still runs (process ${pid}); it is stopped first`);
    const started = startTime(pid);
    for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
      try {
        process.kill(pid, signal);
      } catch {
        return;
      }
      const until = Date.now() + STOP_MS;
      while (Date.now() < until) {
        if (startTime(pid) !== started) return;
        await new Promise((later) => setTimeout(later, STATUS_POLL_MS));
      }
    }
  }

  /** True when the process is a postgres on our data directory, and not another that got its id. */
  #isOurs(pid: number): boolean {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return path.basename(args[0] ?? "") === "postgres" && args.includes(this.#data);
    } catch {
      return false;
    }
  }

  /** Lines of postmaster.pid: process id first, the state of the start eighth. */
  #pidFile(): string[] {
    try {
      return readFileSync(path.join(this.#data, "postmaster.pid"), "utf8").split("\n");
    } catch {
      return [];
    }
  }

  async #run(): Promise<void> {
    const logFile = path.join(this.#data, "sluice.log");
    const log = openSync(logFile, "w", 0o600);
    this.#own(logFile);
    const child = spawn(
      path.join(this.#binaries.bin, "postgres"),
      ["-D", this.#data, "-c", `unix_socket_directories=${this.#sockets}`],
      // A session of its own: a Ctrl-C on the terminal must not reach it before control is done.
      {
        ...this.#identity(),
        cwd: "/",
        detached: true,
        stdio: ["ignore", log, log],
        env: { ...process.env, LC_ALL: "C" },
      },
    );
    closeSync(log);
    this.#child = child;
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(`it ended (${signal ?? `exit status ${code}`})`));
    });
    await this.#ready(child, ended, logFile);
    this.#backoff.began();
    void ended.then((why) => this.#died(why));
  }

  async #ready(child: ChildProcess, ended: Promise<string>, logFile: string): Promise<void> {
    let end: string | null = null;
    void ended.then((why) => {
      end = why;
    });
    const until = Date.now() + START_MS;
    while (end === null && Date.now() < until) {
      const lines = this.#pidFile();
      if (Number(lines[0]) === child.pid && lines[7]?.trim() === "ready") return;
      await new Promise((later) => setTimeout(later, STATUS_POLL_MS));
    }
    if (end === null) child.kill("SIGQUIT");
    const log = existsSync(logFile) ? readFileSync(logFile, "utf8") : "";
    throw failure(log, `The private PostgreSQL did not start: ${end ?? "it was not ready in time"}`);
  }

  #died(why: string): void {
    if (this.#stopping) return;
    const delay = this.#backoff.next();
    this.#say(`the store died: ${why}; it is started again in ${delay} ms`);
    this.#backoff.schedule(delay, () => {
      this.#run().catch((error: unknown) =>
        this.#died(error instanceof Error ? error.message : String(error)),
      );
    });
  }

  #identity(): { uid?: number; gid?: number } {
    return this.#user ? { uid: this.#user.uid, gid: this.#user.gid } : {};
  }

  #own(file: string): void {
    if (this.#user) chownSync(file, this.#user.uid, this.#user.gid);
  }
}

/** PostgreSQL's own words, as one sentence. */
function failure(output: string, what: string): StartError {
  if (/No space left on device|Disk quota exceeded/.test(output)) {
    return new StartError("The disk that holds SLUICE_HOME is full: free some space, then start again.");
  }
  const lines = output.split("\n").map((line) => line.trim());
  const cause =
    lines.find((line) => /\b(FATAL|PANIC|ERROR|error):/.test(line)) ?? lines.filter(Boolean).at(-1);
  return new StartError(`${what}${cause ? `: ${cause}` : ""}`);
}
