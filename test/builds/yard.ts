import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { readConfig } from "../../src/config/environment.ts";
import { type Layout, layoutOf, socketPath } from "../../src/config/layout.ts";
import type { PartMessage } from "../../src/config/part.ts";
import { lookUpUser } from "../../src/config/users.ts";
import { Boxes } from "../../src/host/box/boxes.ts";
import { BuildRoom } from "../../src/host/build/builds.ts";
import { FetchRoom } from "../../src/host/build/fetches.ts";
import type { HostContext, HostRoom } from "../../src/host/context.ts";
import { Slugs } from "../../src/host/slugs.ts";
import { FeedReader } from "../../src/wire/feed.ts";
import { ReconnectingLink } from "../../src/wire/link.ts";
import { type DynoOrder, HOST_INVENTORY } from "../../src/wire/orders.ts";
import { openStream } from "../../src/wire/stream.ts";
import { startPostgres, type TestPostgres } from "../postgres.ts";

/*
 * A yard to build in: control as a process of its own on a real store, and in the test's process the host's
 * rooms for builds and fetches, with real boxes. Dynos are ordered and never started.
 */

export const KEY = "the-key-of-this-test";
const ACCEPT = { Accept: "application/vnd.heroku+json; version=3", Authorization: `Bearer ${KEY}` };

export interface Answer<T> {
  status: number;
  body: T;
}
export interface Pushed {
  ok: boolean;
  output: string;
}

export class Yard {
  readonly home: string;
  readonly layout: Layout;
  readonly #postgres: TestPostgres;
  readonly #env: Record<string, string>;
  control: ChildProcess | null = null;
  port = 0;
  host: YardHost | null = null;

  private constructor(home: string, postgres: TestPostgres, env: Record<string, string>) {
    this.home = home;
    this.#postgres = postgres;
    this.#env = {
      SLUICE_HOME: home,
      SLUICE_SOCKETS: path.join(home, "sockets"),
      SLUICE_API_PORT: "0",
      SLUICE_API_TLS_PORT: "0",
      SLUICE_RENDEZVOUS_PORT: "0",
      SLUICE_EDGE_PORT: "8080",
      SLUICE_API_KEY: KEY,
      DATABASE_URL: postgres.url,
      ...env,
    };
    this.layout = layoutOf(home, this.#env);
  }

  static async open(env: Record<string, string> = {}): Promise<Yard> {
    const home = mkdtempSync(path.join(os.tmpdir(), "sluice-yard-"));
    chmodSync(home, 0o711);
    const user = process.getuid?.() === 0 ? lookUpUser("nobody") : null;
    for (const folder of ["", "control", "slugs", "sockets", "host"]) {
      mkdirSync(path.join(home, folder), { recursive: true });
      if (user && folder !== "host") chownSync(path.join(home, folder), user.uid, user.gid);
    }
    const yard = new Yard(home, await startPostgres(), env);
    await yard.startControl();
    await yard.openHost();
    return yard;
  }

  async openHost(): Promise<void> {
    this.host = await YardHost.open(this.#env, this.layout);
    while ((await this.api<{ parts: { host: string } }>("GET", "/health")).body.parts.host !== "up") {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async startControl(): Promise<void> {
    const user = process.getuid?.() === 0 ? lookUpUser("nobody") : null;
    const child = fork(path.join(import.meta.dirname, "../control/control-process.js"), {
      env: {
        ...process.env,
        ...this.#env,
        ...(user ? { TEST_UID: String(user.uid), TEST_GID: String(user.gid) } : {}),
      },
    });
    this.control = child;
    const message = await new Promise<PartMessage>((resolve, reject) => {
      child.on("message", (told) => resolve(told as PartMessage));
      child.on("exit", (code) => reject(new Error(`control ended with ${code}`)));
    });
    if (message.kind !== "ready") throw new Error(JSON.stringify(message));
    this.port = message.ports.http!;
  }

  async killControl(): Promise<void> {
    const child = this.control!;
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async api<T = Record<string, unknown>>(method: string, at: string, body?: unknown): Promise<Answer<T>> {
    const answer = await fetch(`${this.url}${at}`, {
      method,
      headers: { ...ACCEPT, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
    });
    const text = await answer.text();
    return { status: answer.status, body: (text ? JSON.parse(text) : null) as T };
  }

  async app(name: string, config: Record<string, string> = {}): Promise<string> {
    const { body, status } = await this.api<{ id: string }>("POST", "/apps", { name });
    if (status !== 201) throw new Error(JSON.stringify(body));
    if (Object.keys(config).length) await this.api("PATCH", `/apps/${name}/config-vars`, config);
    return body.id;
  }

  buildpacks(app: string, ...names: string[]): Promise<Answer<unknown>> {
    const updates = names.map((buildpack) => ({ buildpack }));
    return this.api("PUT", `/apps/${app}/buildpack-installations`, { updates });
  }

  /** A new repository with these files, executable where the name ends with `*`. */
  repository(files: Record<string, string>): string {
    const folder = mkdtempSync(path.join(this.home, "repo-"));
    git(folder, "init", "-q", "-b", "main");
    this.commit(folder, files);
    return folder;
  }

  commit(folder: string, files: Record<string, string>): void {
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(folder, name.replace(/\*$/, ""));
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, text, { mode: name.endsWith("*") ? 0o755 : 0o644 });
    }
    git(folder, "add", "-A");
    git(folder, "commit", "-q", "--allow-empty", "-m", "A change");
  }

  /** Starts `git push`; its process is given too. */
  pushing(folder: string, app: string, ref = "main"): { child: ChildProcess; done: Promise<Pushed> } {
    const child = spawn("git", ["push", `http://x:${KEY}@127.0.0.1:${this.port}/${app}.git`, ref], {
      cwd: folder,
      env: GIT_ENV,
      stdio: ["ignore", "pipe", "pipe"],
      // With its helper, so that a test can end both.
      detached: true,
    });
    let output = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.on("data", (chunk: Buffer) => {
        output += chunk;
      });
    const done = once(child, "close").then(([code]) => ({
      ok: code === 0,
      output: output
        .split("\n")
        .map((line) => line.replace(/^remote: ?/, "").replace(/\s+$/, ""))
        .join("\n"),
    }));
    return { child, done };
  }

  push(folder: string, app: string, ref = "main"): Promise<Pushed> {
    return this.pushing(folder, app, ref).done;
  }

  async close(): Promise<void> {
    await this.host?.close();
    await this.killControl();
    await this.#postgres.stop();
    rmSync(this.home, { recursive: true, force: true });
  }
}

export const GIT_ENV = {
  PATH: process.env.PATH ?? "",
  HOME: "/nonexistent",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "Ann",
  GIT_AUTHOR_EMAIL: "ann@example.com",
  GIT_COMMITTER_NAME: "Ann",
  GIT_COMMITTER_EMAIL: "ann@example.com",
  GIT_AUTHOR_DATE: "2024-05-01T10:00:00Z",
  GIT_COMMITTER_DATE: "2024-05-01T10:00:00Z",
};

export const git = (folder: string, ...args: string[]): string =>
  execFileSync("git", args, { cwd: folder, env: GIT_ENV, encoding: "utf8" });

/** The rooms of the host that build, on a link of their own. */
export class YardHost {
  readonly boxes: Boxes;
  readonly slugs: Slugs;
  readonly builds: BuildRoom;
  readonly #rooms: HostRoom[];
  readonly #link: ReconnectingLink;

  private constructor(env: Record<string, string>, layout: Layout, boxes: Boxes) {
    const config = readConfig(env);
    const socket = socketPath(layout, "control-host");
    const open = (id: string): ReturnType<typeof openStream> => openStream(socket, id);
    this.boxes = boxes;
    this.slugs = new Slugs(path.join(layout.host, "slugs"), boxes, open);
    const context: HostContext = {
      config,
      layout,
      boxes,
      slugs: this.slugs,
      log: null as unknown as HostContext["log"],
      send: (kind, message) => this.#link.link?.send(kind, message) ?? false,
      openStream: open,
    };
    this.builds = new BuildRoom(context);
    this.#rooms = [this.builds, new FetchRoom(context)];
    const feed = new FeedReader<DynoOrder>();
    this.#link = new ReconnectingLink(socket, {
      onOpen: (link) => {
        link.send(HOST_INVENTORY, {
          machine: "yard",
          address: "127.0.0.1",
          dynos: [],
          builds: this.builds.builds(),
          missing: [],
        });
        feed.hello(link);
      },
      onMessage: (kind, message) => {
        if (feed.take(this.#link.link!, kind, message)) return;
        this.#rooms.some((room) => room.take(kind, message));
      },
    });
  }

  static async open(env: Record<string, string>, layout: Layout): Promise<YardHost> {
    const { boxes } = await Boxes.open(readConfig(env), layout);
    return new YardHost(env, layout, boxes);
  }

  async close(): Promise<void> {
    await Promise.all(this.#rooms.map((room) => room.stop()));
    this.#link.close();
    await this.boxes.close();
  }
}
