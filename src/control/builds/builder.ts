import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { randomSecret } from "../../config/environment.ts";
import { findApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { Egress } from "../egress/egress.ts";
import { EgressProxy } from "../egress/proxy.ts";
import { unavailable } from "../errors.ts";
import { repositoryFolder } from "../git/repository.ts";
import { readBuildpack } from "./buildpacks.ts";
import type { BuildOutcome, BuildRequest, Builds, BuildUnderWay } from "./builds.ts";
import { BuildFailure, builtBefore } from "./failure.ts";
import { BuildOutput, readOutput } from "./output.ts";
import { BuildQueue } from "./queue.ts";
import { runBuild } from "./run.ts";
import { SlugStore } from "./slug-store.ts";
import { Sources } from "./sources.ts";
import type { Workshop } from "./workshop.ts";

/** Builds under way at a time, over all apps. */
const BUILDS_AT_A_TIME = Number(process.env.SLUICE_BUILDS) || Math.max(2, availableParallelism());
/** Builds that may wait; past them a push is turned away. */
const WAITING_LIMIT = 100;
/** How long the output of an ended build is kept, in days. */
const OUTPUT_DAYS = 30;

interface Running {
  appId: string;
  output: BuildOutput;
  abort: AbortController;
  done: Promise<BuildOutcome>;
}

/**
 * Opens the room where builds are made: what a killed control left half-done is ended as failed first, and
 * slugs are served to the hosts that ask for them.
 */
export async function openBuilds(control: Omit<Control, "builds" | "leavings">): Promise<Builds> {
  const { layout, config, store } = control;
  const egress = new Egress(config.fetchAllowPrivate);
  const workshop: Workshop = {
    control,
    slugs: new SlugStore(layout.slugs, path.join(layout.control, "slug-members"), config.slugLimit),
    sources: new Sources(path.join(layout.control, "sources"), store.pool),
    egress,
    proxy: new EgressProxy(egress),
    folder: path.join(layout.control, "builds"),
  };
  await mkdir(workshop.folder, { recursive: true, mode: 0o700 });
  await workshop.slugs.open();
  await workshop.sources.open();
  const builder = new Builder(workshop);
  await builder.recover();
  control.hosts.serveStreams("slug:", (sha256, socket) => {
    if (!/^[0-9a-f]{64}$/.test(sha256)) return void socket.destroy();
    workshop.slugs
      .read(sha256)
      .on("error", () => socket.destroy())
      .pipe(socket);
  });
  return builder;
}

class Builder implements Builds {
  #shop: Workshop;
  #queue = new BuildQueue(BUILDS_AT_A_TIME);
  #running = new Map<string, Running>();
  #fresh = new Set<string>();
  #stopping = false;

  constructor(shop: Workshop) {
    this.#shop = shop;
  }

  get slugs(): SlugStore {
    return this.#shop.slugs;
  }

  get sources(): Sources {
    return this.#shop.sources;
  }

  #outputFile(buildId: string): string {
    return path.join(this.#shop.folder, `${buildId}.log`);
  }

  /** Ends as failed what a killed control left pending, and frees its files. */
  async recover(): Promise<void> {
    const { control, folder, slugs } = this.#shop;
    const { rows } = await control.store.pool.query<{ id: string; appId: string }>(
      `UPDATE builds SET status = 'failed', failure_id = 'interrupted', updated_at = now(),
         failure_message = 'Sluice was stopped while this build was under way; push again.'
       WHERE status = 'pending' RETURNING id, app_id AS "appId"`,
    );
    for (const { id, appId } of rows) {
      const output = await BuildOutput.open(this.#outputFile(id));
      await output.lines(
        "",
        " !     Sluice was stopped while this build was under way; push again.",
        "",
        " !     Push failed",
      );
      await output.end();
      this.#logFailure(appId, id);
    }
    for (const name of await readdir(folder)) {
      const file = path.join(folder, name);
      const age = Date.now() - (await stat(file)).mtimeMs;
      if (!name.endsWith(".log") || age > OUTPUT_DAYS * 86_400_000)
        await rm(file, { recursive: true, force: true });
    }
    await slugs.sweep(control.store.pool);
  }

  #logFailure(appId: string, buildId: string): void {
    this.#shop.control.appLog.api(
      appId,
      `Build failed -- check your build output: sluice builds:output ${buildId}`,
    );
  }

  async start(request: BuildRequest): Promise<BuildUnderWay> {
    const { control } = this.#shop;
    if (this.#stopping) throw unavailable("stopping", "Sluice is stopping; push again when it is back.");
    if (this.#running.size >= WAITING_LIMIT) {
      throw unavailable("too_many_builds", "Too many builds are waiting; push again when some have ended.");
    }
    for (const buildpack of request.buildpacks ?? []) readBuildpack(buildpack, control.config.buildpackPath);
    const app = await findApp(control.store.pool, request.appId);
    const id = randomUUID();
    const source = request.source;
    await control.store.pool.query(
      `INSERT INTO builds (id, app_id, user_id, user_email, status, source_url, source_version,
         source_version_description, source_checksum, buildpacks, stack, output_token, epoch)
       VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12)`,
      [
        id,
        app.id,
        request.actor.id,
        request.actor.email,
        "url" in source ? source.url : null,
        request.version,
        request.versionDescription,
        "url" in source ? source.checksum : null,
        JSON.stringify(request.buildpacks ?? []),
        app.buildStack,
        randomSecret(),
        control.store.epoch,
      ],
    );
    const output = await BuildOutput.open(this.#outputFile(id));
    const running: Running = { appId: app.id, output, abort: new AbortController(), done: null! };
    control.appLog.api(app.id, `Build started by user ${request.actor.email}`);
    running.done = this.#run(id, request, running);
    this.#running.set(id, running);
    return { id, done: running.done, output: () => output.follow() };
  }

  async #run(id: string, request: BuildRequest, { appId, output, abort }: Running): Promise<BuildOutcome> {
    let leave = (): void => {};
    try {
      const reason = this.#queue.reason(appId);
      if (reason) await output.lines(` !     ${reason}`);
      leave = await this.#queue.enter(appId, abort.signal);
      const clearCache = this.#fresh.delete(appId) || request.clearCache === true;
      const release = await runBuild(this.#shop, { id, request, output, signal: abort.signal, clearCache });
      return {
        ok: true,
        releaseVersion: release.version,
        message: null,
        releaseCommand: release.status === "pending",
      };
    } catch (error) {
      const failure = this.#failureOf(id, error);
      await this.#fail(id, request, output, failure);
      return { ok: false, releaseVersion: null, message: failure.message, releaseCommand: false };
    } finally {
      leave();
      await output.end();
      this.#running.delete(id);
      const workFolder = path.join(this.#shop.folder, id);
      if (existsSync(workFolder)) await rm(workFolder, { recursive: true, force: true }).catch(() => {});
    }
  }

  #failureOf(id: string, error: unknown): BuildFailure {
    if (error instanceof BuildFailure) return error;
    this.#shop.control.log.error({ err: error, build: id }, "a build broke off");
    return new BuildFailure(
      "internal",
      "Something went wrong in Sluice; its diagnostics have more. Push again.",
    );
  }

  async #fail(id: string, request: BuildRequest, output: BuildOutput, failure: BuildFailure): Promise<void> {
    const { store } = this.#shop.control;
    // Heroku's words of a slug that is too large have no empty line (contract, section 5).
    const gap = failure.id === "slug_too_large" ? [] : [""];
    await output.lines(...failure.lines, ...gap, " !     Push failed");
    try {
      await store.pool.query(
        `UPDATE builds SET status = 'failed', failure_id = $2, failure_message = $3, updated_at = now()
         WHERE id = $1 AND status = 'pending'`,
        [id, failure.id, failure.message],
      );
      if (request.version) {
        const before = await store.pool.query(
          "SELECT 1 FROM builds WHERE app_id = $1 AND source_version = $2 AND id <> $3 LIMIT 1",
          [request.appId, request.version, id],
        );
        if (before.rowCount) await output.lines(...builtBefore(request.version));
      }
    } catch (error) {
      // The store is away: the row is still pending, and the next start ends it.
      this.#shop.control.log.error({ err: error, build: id }, "a failed build could not be written down");
    }
    this.#logFailure(request.appId, id);
  }

  async output(buildId: string, from = 0): Promise<Readable | null> {
    const running = this.#running.get(buildId);
    if (running) return running.output.follow(from);
    const file = this.#outputFile(buildId);
    return existsSync(file) ? readOutput(file, from, null) : null;
  }

  async cancel(buildId: string): Promise<void> {
    const running = this.#running.get(buildId);
    if (!running) return;
    running.abort.abort(new BuildFailure("canceled", "The build was canceled."));
    await running.done;
  }

  clearCache(appId: string): void {
    this.#fresh.add(appId);
  }

  async forget(appId: string): Promise<void> {
    const { control, folder, slugs } = this.#shop;
    for (const running of [...this.#running.values()]) {
      if (running.appId !== appId) continue;
      running.abort.abort(new BuildFailure("app_destroyed", "The app was destroyed."));
      await running.done;
    }
    this.#fresh.delete(appId);
    await rm(repositoryFolder(control.layout.control, appId), { recursive: true, force: true });
    const { rows } = await control.store.pool.query<{ id: string }>("SELECT id FROM builds");
    const known = new Set(rows.map((row) => `${row.id}.log`));
    for (const name of await readdir(folder)) {
      if (name.endsWith(".log") && !known.has(name)) await rm(path.join(folder, name), { force: true });
    }
    await slugs.sweep(control.store.pool);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const running = [...this.#running.values()];
    for (const { abort } of running) {
      abort.abort(
        new BuildFailure("stopped", "Sluice was stopped while this build was under way; push again."),
      );
    }
    await Promise.all(running.map(({ done }) => done));
    await this.#shop.proxy.close();
  }
}
