import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import http from "node:http";
import path from "node:path";
import type { TestContext } from "node:test";
import { checkout } from "../../src/supervisor/checkout.ts";
import { atEnd } from "../at-end.ts";

/*
 * A whole real Sluice for one test: `sluice up` on free ports with a home and a HOME of its own, driven as a
 * person would, by the command, by git, and by HTTP.
 */

export const isRoot = process.getuid?.() === 0;
/** Reason to skip what needs root on a user's machine; the full run skips nothing. */
export const needsRoot = isRoot || process.env.SLUICE_TEST_FULL === "1" ? false : "needs root";

/** Start and stop take a second or two; this is for a machine with everything else on it. */
const START_MS = 60_000;
/** How long a thing that is expected soon is waited for. */
export const SOON_MS = 60_000;

export interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

export interface StartOptions {
  env?: NodeJS.ProcessEnv;
  /** Folder for home, HOME and repositories; a fresh one, removed after the test, when not given. */
  folder?: string;
  /** Run as this user; needs root. */
  as?: { uid: number; gid: number };
  /** Run this copy of the checkout. */
  checkout?: string;
  /** Words of a program that runs it. */
  under?: string[];
}

/** A folder of the test's own that every user can walk to, removed after it. */
export function ownFolder(t: TestContext): string {
  // Short: socket paths of a start without root lie below it.
  const folder = mkdtempSync("/tmp/sluice-e2e-");
  chmodSync(folder, 0o755);
  atEnd(t, () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return folder;
}

/** Free ports, an own home and HOME, and a dyno network that no other test run uses. */
export function ownEnvironment(folder: string): NodeJS.ProcessEnv {
  const ports = ["EDGE", "EDGE_TLS", "API", "API_TLS", "RENDEZVOUS", "LOGPLEX", "LOGPLEX_HTTP"];
  // The marks of node:test are for its own children.
  const { NODE_TEST_CONTEXT: _, ...machine } = process.env;
  return {
    ...machine,
    ...Object.fromEntries(ports.map((name) => [`SLUICE_${name}_PORT`, "0"])),
    HOME: path.join(folder, "user"),
    SLUICE_HOME: path.join(folder, "home"),
    SLUICE_DYNO_NET: `10.${210 + Math.floor(Math.random() * 40)}.0.0/16`,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "Ada",
    GIT_AUTHOR_EMAIL: "ada@example.com",
    GIT_COMMITTER_NAME: "Ada",
    GIT_COMMITTER_EMAIL: "ada@example.com",
  };
}

/** A Sluice that runs. */
export class Sluice {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly home: string;
  #child: ChildProcess | null = null;
  /** Everything it wrote to standard error. */
  stderr = "";
  stdout = "";
  edge = "";
  api = "";
  tls = "";
  key = "";

  readonly checkout: string;

  constructor(folder: string, env: NodeJS.ProcessEnv, options: StartOptions = {}) {
    this.folder = folder;
    this.checkout = options.checkout ?? checkout;
    this.env = env;
    this.home = env.SLUICE_HOME!;
  }

  /** One that a test started itself, by the ready line that it printed; it has no `child`. */
  static running(folder: string, env: NodeJS.ProcessEnv, printed: string): Sluice {
    const sluice = new Sluice(folder, env);
    sluice.#take(printed);
    return sluice;
  }

  /** The supervisor. */
  get child(): ChildProcess {
    return this.#child!;
  }

  spawn(options: StartOptions = {}): void {
    // A process group of its own, so that a test can send a Ctrl-C as a terminal does.
    const words = [
      ...(options.under ?? []),
      process.execPath,
      path.join(this.checkout, "bin/start.js"),
      "up",
    ];
    const child = spawn(words[0]!, words.slice(1), {
      env: this.env,
      cwd: this.folder,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      ...options.as,
    });
    this.#child = child;
    child.stdout.on("data", (chunk) => {
      this.stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      this.stderr += chunk;
    });
  }

  /** Resolves at the ready line. */
  async ready(): Promise<void> {
    await until(
      () => this.stdout.includes("\n") || this.child.exitCode !== null,
      "the ready line",
      START_MS,
      () => this.stderr,
    );
    assert.match(this.stdout, /^ready [^\n]*\n$/, this.stderr);
    this.#take(this.stdout);
  }

  #take(printed: string): void {
    const line = /^ready edge=(\S+) api=(\S+) tls=(\S+) key=(\S+?)\r?$/m.exec(printed);
    assert.ok(line, `no ready line: ${printed}${this.stderr}`);
    [this.edge, this.api, this.tls] = [line[1]!, line[2]!, line[3]!];
    this.key = readFileSync(line[4]!, "utf8").trim();
  }

  /** Ctrl-C as a terminal sends it: to the whole group. Resolves with the exit status. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      process.kill(-this.child.pid!, signal);
      await once(this.child, "exit");
    }
    return this.child.exitCode;
  }

  /** Titles of the supervisor's children by process id. */
  parts(): Map<number, string> {
    const parts = new Map<number, string>();
    for (const pid of childrenOf(this.child.pid!)) {
      const title = commandLine(pid);
      if (title.startsWith("sluice: ")) parts.set(pid, title.slice("sluice: ".length));
    }
    return parts;
  }

  /** Process id of one part (`control`, `edge 1`), or of the `store`; null while it is not there. */
  pid(part: string): number | null {
    if (part === "store") {
      const file = path.join(this.home, "pg", "postmaster.pid");
      try {
        return Number(readFileSync(file, "utf8").split("\n")[0]);
      } catch {
        return null;
      }
    }
    for (const [pid, title] of this.parts()) if (title === part) return pid;
    return null;
  }

  /** kill -9 of one part; resolves when another process has its place. */
  async kill(part: string): Promise<void> {
    const pid = this.pid(part);
    assert.ok(pid, `${part} does not run`);
    process.kill(pid, "SIGKILL");
    await until(() => ![null, pid].includes(this.pid(part)), `${part} to be started again`);
  }

  /** The `sluice` command, with the settings that `sluice up` wrote for it. */
  async cli(args: string[], options: { cwd?: string; input?: string } = {}): Promise<Ran> {
    return run(process.execPath, [path.join(checkout, "bin", "sluice"), ...args], {
      cwd: options.cwd ?? this.folder,
      env: this.clientEnv(),
      ...(options.input !== undefined && { input: options.input }),
    });
  }

  /** The command; fails the test when it does. Returns what it printed. */
  async must(args: string[], options: { cwd?: string; input?: string } = {}): Promise<string> {
    const ran = await this.cli(args, options);
    assert.equal(ran.status, 0, `sluice ${args.join(" ")}: ${ran.stdout}${ran.stderr}\n${this.stderr}`);
    return ran.stdout;
  }

  /** A person's environment: their HOME, and nothing that tells of this Sluice but the settings file there. */
  clientEnv(): NodeJS.ProcessEnv {
    return Object.fromEntries(Object.entries(this.env).filter(([name]) => !name.startsWith("SLUICE_")));
  }

  /** A repository with the files of examples/`name` (or of `files`), committed on main. */
  async repository(name: string, files: Record<string, string> | null = null): Promise<string> {
    const folder = mkdtempSync(path.join(this.folder, "repo-"));
    if (files) write(folder, files);
    else cpSync(path.join(checkout, "examples", name), folder, { recursive: true });
    await this.git(folder, "init", "-q", "-b", "main");
    await this.commit(folder, "First");
    return folder;
  }

  /** Writes `files` into the repository and commits everything. */
  async commit(folder: string, message: string, files: Record<string, string> = {}): Promise<void> {
    write(folder, files);
    await this.git(folder, "add", "-A");
    await this.git(folder, "commit", "-q", "-m", message);
  }

  async git(folder: string, ...args: string[]): Promise<Ran> {
    const ran = await run("git", args, { cwd: folder, env: this.clientEnv() });
    assert.equal(ran.status, 0, `git ${args.join(" ")}: ${ran.stderr}`);
    return ran;
  }

  /** `git push`; what it printed, and its exit status. */
  push(folder: string, remote = "sluice", refs = "main"): Promise<Ran> {
    return run("git", ["push", remote, refs], { cwd: folder, env: this.clientEnv() });
  }

  /** Creates the app, pushes examples/`example` (or `files`), and waits until it answers. Returns its repository. */
  async deploy(app: string, example: string, files: Record<string, string> | null = null): Promise<string> {
    const repository = await this.repository(example, files);
    await this.must(["create", app], { cwd: repository });
    const pushed = await this.push(repository);
    assert.equal(pushed.status, 0, `${pushed.stderr}\n${this.stderr}`);
    return repository;
  }

  /** One request to an app through the edge. */
  get(app: string, target = "/", options: http.RequestOptions & { body?: string } = {}): Promise<Answer> {
    const { hostname, port } = new URL(this.edge);
    const { body, ...rest } = options;
    return new Promise((resolve, reject) => {
      const request = http.request(
        {
          hostname,
          port,
          path: target,
          agent: false,
          ...rest,
          headers: { Host: `${app}.localhost:${port}`, ...options.headers },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk) => {
            text += chunk;
          });
          response.on("error", reject);
          response.on("end", () =>
            resolve({ status: response.statusCode!, headers: response.headers, body: text }),
          );
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  /** One call of the Platform API with the key. */
  async call(method: string, target: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const { response, value } = await this.#ask(method, target, {}, body);
    return { status: response.status, body: value };
  }

  /** A list of the API whole, page after page. */
  async list<T>(target: string): Promise<T[]> {
    const all: T[] = [];
    let range: string | null = "";
    while (range !== null) {
      const { response, value } = await this.#ask("GET", target, range ? { range } : {});
      all.push(...(value as T[]));
      range = response.headers.get("next-range");
    }
    return all;
  }

  async #ask(
    method: string,
    target: string,
    headers: Record<string, string>,
    body?: unknown,
  ): Promise<{ response: Response; value: unknown }> {
    const response = await fetch(new URL(target, this.api), {
      method,
      headers: {
        accept: "application/vnd.heroku+json; version=3",
        authorization: `Bearer ${this.key}`,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { response, value: text ? JSON.parse(text) : null };
  }
}

/** Starts a Sluice and waits for its ready line; it is stopped after the test, and its folder removed. */
export async function startSluice(t: TestContext, options: StartOptions = {}): Promise<Sluice> {
  const folder = options.folder ?? ownFolder(t);
  const env = { ...ownEnvironment(folder), ...options.env };
  mkdirSync(env.HOME!, { recursive: true });
  if (options.as) chownSync(env.HOME!, options.as.uid, options.as.gid);
  const sluice = new Sluice(folder, env, options);
  sluice.spawn(options);
  atEnd(t, async () => {
    const started = Date.now();
    await sluice.stop("SIGTERM");
    t.diagnostic(`stop took ${Date.now() - started} ms`);
  });
  await sluice.ready();
  return sluice;
}

/** Starts a Sluice that is expected to give up; its exit status and what it said. */
export async function failToStart(
  folder: string,
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; stderr: string; stdout: string }> {
  mkdirSync(env.HOME!, { recursive: true });
  const sluice = new Sluice(folder, env);
  sluice.spawn();
  const timer = setTimeout(() => sluice.child.kill("SIGKILL"), START_MS);
  await once(sluice.child, "close");
  clearTimeout(timer);
  return { status: sluice.child.exitCode, stderr: sluice.stderr, stdout: sluice.stdout };
}

/** Waits until `condition` holds, looking often; fails with `what` after `ms`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  ms = SOON_MS,
  detail: () => string = () => "",
): Promise<void> {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`Waited ${ms / 1000} s for ${what}. ${detail()}`);
    await new Promise((later) => setTimeout(later, 20));
  }
}

/** Runs a program to its end. */
export function run(
  command: string,
  args: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv; input?: string },
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: options.env });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? "");
  });
}

const write = (folder: string, files: Record<string, string>): void => {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
};

const commandLine = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replace(/\0+$/, "").replaceAll("\0", " ");
  } catch {
    return "";
  }
};

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .trim()
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

/** Command lines of all processes that name `text`, zombies left out. */
export function processesWith(text: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((name) => commandLine(Number(name)))
    .filter((line) => line.includes(text));
}
