import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import type net from "node:net";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { BuildBuildpack, BuildOrder, BuildResult, Limits } from "../../wire/orders.ts";
import { type App, findApp } from "../apps.ts";
import { EgressError } from "../egress/egress.ts";
import { ApiError } from "../errors.ts";
import { type ExpectedStream, HostGone, StreamMissing } from "../hosts.ts";
import type { Release } from "../releases/releases.ts";
import { readBuildpack, withoutPassword } from "./buildpacks.ts";
import type { BuildRequest } from "./builds.ts";
import { BuildFailure, shortSize } from "./failure.ts";
import { operatorEnvironment } from "./operator-environment.ts";
import type { BuildOutput } from "./output.ts";
import { type KeptSlug, SlugTooLarge } from "./slug-store.ts";
import { hashFile, saveSource } from "./sources.ts";
import { TarError } from "./tar-pieces.ts";
import type { Workshop } from "./workshop.ts";

/** A build that its host does not end by itself is given up this much later. */
const GRACE_MS = 30_000;
const FETCH_SECONDS = 300;
/** Bytes of one buildpack's files. */
const BUILDPACK_LIMIT = 512 * 1024 * 1024;
/** Node's heap default supposes 2.5 GB for a build (contract, section 5). */
const BUILD_LIMITS: Limits = { memoryBytes: 2560 * 1024 * 1024, processes: 4096, cpuShares: 2 };
/** How often a release command is looked for before it prints. */
const RELEASE_LOOK_MS = 50;
/** From this size on Heroku warns of slow boots. */
const SOFT_LIMIT = 300 * 1024 * 1024;

export interface BuildTask {
  id: string;
  request: BuildRequest;
  output: BuildOutput;
  signal: AbortSignal;
  clearCache: boolean;
}

/**
 * Runs one build from its source to its release. Slug, build and release become true in one transaction.
 * @throws BuildFailure that says why there is no release.
 */
export async function runBuild(shop: Workshop, task: BuildTask): Promise<Release> {
  const app = await findApp(shop.control.store.pool, task.request.appId);
  const folder = path.join(shop.folder, task.id);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { file, clampTime } = await sourceOf(shop, task, folder);
  const packs = await buildpacksOf(shop, task, app, folder);
  const { result, slug } = await onHost(shop, task, app, packs, file, clampTime);
  await task.output.lines(
    "-----> Compressing...",
    `       Done: ${shortSize(slug.size)}`,
    "-----> Launching...",
  );
  if (slug.size > SOFT_LIMIT) {
    await task.output.lines(
      ` !     Warning: Your slug size (${Math.round(slug.size / 2 ** 20)} MB) exceeds our soft limit (300 MB) which may affect boot time.`,
    );
  }
  if (result.processTypes.release !== undefined) {
    await task.output.lines(
      " !     Release command declared: this new release will not be available until the command succeeds.",
    );
  }
  const release = await releaseOf(shop, task, app, result, slug).finally(() =>
    shop.slugs.settle(slug.sha256),
  );
  const { config } = shop.control;
  const port = config.edge.port === 80 ? "" : `:${config.edge.port}`;
  await task.output.lines(
    `       Released v${release.version}`,
    `       http://${app.name}.${config.appDomain}${port}/ deployed to Sluice`,
  );
  shop.control.appLog.api(app.id, "Build succeeded");
  if (release.status === "pending") await followRelease(shop, task, release);
  return release;
}

/** Shows what the release command prints; one that fails does not fail the build (contract, section 5). */
async function followRelease(
  shop: Workshop,
  { output, request }: BuildTask,
  release: Release,
): Promise<void> {
  const { releases } = shop.control;
  if ("tar" in request.source) await output.lines("", "Verifying deploy... done.");
  await output.lines("Running release command...", "");
  const settled = releases.settled(release);
  let ended = false;
  const done = settled.then(
    () => (ended = true),
    () => (ended = true),
  );
  let printed: Readable | null = null;
  while (!printed && !ended) {
    printed = await releases.output(release.id);
    if (!printed) await Promise.race([done, pause(RELEASE_LOOK_MS)]);
  }
  printed ??= await releases.output(release.id);
  if (printed) for await (const chunk of printed) await output.append(chunk as Buffer);
  const last = await settled.catch(() => release);
  await output.lines(`Waiting for release.... ${last.status === "succeeded" ? "done" : "failed"}.`);
}

/** The source as a file, or as a tar that comes: fetched, counted, and its checksum held against what was told. */
async function sourceOf(
  shop: Workshop,
  { request }: BuildTask,
  folder: string,
): Promise<{ file: string | Readable; clampTime: number }> {
  const { source } = request;
  if ("tar" in source) return { file: source.tar, clampTime: source.clampTime };
  let file: string;
  let digest: string | null = null;
  try {
    const own = await shop.sources.find(source.url);
    if (own) {
      file = own;
    } else {
      const { body } = await shop.egress.get(source.url);
      const saved = await saveSource(body, path.join(folder, "source"));
      file = saved.file;
      digest = saved.sha256;
    }
    if (source.checksum) digest ??= await hashFile(file);
  } catch (error) {
    if (error instanceof ApiError) throw new BuildFailure("source_unavailable", error.message);
    const reason = error instanceof EgressError ? error.message : "the connection broke off.";
    throw new BuildFailure("source_unavailable", `The source could not be fetched: ${reason}`);
  }
  const wanted = source.checksum?.replace(/^sha256:/i, "").toLowerCase();
  if (wanted && wanted !== digest) {
    throw new BuildFailure(
      "source_checksum",
      `The source's checksum is SHA256:${digest}, not the one given; upload it again.`,
    );
  }
  // 0: the host takes the newest time in the archive.
  return { file, clampTime: 0 };
}

interface Pack extends Omit<BuildBuildpack, "stream"> {
  file: string | null;
}

/** The app's buildpacks, those by URL fetched. */
async function buildpacksOf(shop: Workshop, task: BuildTask, app: App, folder: string): Promise<Pack[]> {
  const { control } = shop;
  let names = task.request.buildpacks;
  if (!names) {
    const { rows } = await control.store.pool.query<{ url: string }>(
      "SELECT url FROM buildpack_installations WHERE app_id = $1 ORDER BY ordinal",
      [app.id],
    );
    names = rows.map((row) => row.url);
  }
  const packs: Pack[] = [];
  for (const [index, text] of names.entries()) {
    let source: ReturnType<typeof readBuildpack>;
    try {
      source = readBuildpack(text, control.config.buildpackPath);
    } catch (error) {
      throw new BuildFailure("buildpack_unknown", (error as Error).message);
    }
    const name = withoutPassword(text.trim());
    if (source.kind === "shipped") {
      packs.push({ name: `heroku/${source.name}`, shipped: source.name, file: null });
    } else if (source.kind === "path") {
      packs.push({ name, shipped: source.path, file: null });
    } else {
      const file = path.join(folder, `buildpack-${index}`);
      if (source.kind === "git") await cloneInto(shop, task, source, file, name);
      else await downloadInto(shop, source.url, file, name);
      packs.push({ name, shipped: null, file });
    }
  }
  return packs;
}

const notFetched = (name: string, reason: string): BuildFailure =>
  new BuildFailure("buildpack_unavailable", `The buildpack ${name} could not be fetched: ${reason}`);

async function downloadInto(shop: Workshop, url: string, file: string, name: string): Promise<void> {
  try {
    const { body } = await shop.egress.get(url);
    await saveSource(body, file, BUILDPACK_LIMIT);
  } catch (error) {
    const known = error instanceof EgressError || error instanceof ApiError;
    throw notFetched(name, known ? error.message : "the connection broke off.");
  }
}

/** Clones in a box on a host, which sends the tree as a tar. */
async function cloneInto(
  shop: Workshop,
  { signal }: BuildTask,
  source: { url: string; ref: string | null },
  file: string,
  name: string,
): Promise<void> {
  const { hosts } = shop.control;
  const stream = hosts.expectStream(FETCH_SECONDS * 1000);
  try {
    const url = shop.egress.parse(source.url, ["https:", "http:"]);
    await shop.egress.resolve(url.hostname);
    const saving = stream.take.then((socket) => saveSource(socket, file, BUILDPACK_LIMIT));
    saving.catch(() => {});
    const result = await hosts.fetch({
      fetch: randomUUID(),
      kind: "git",
      url: url.href,
      ref: source.ref,
      stream: stream.id,
      proxy: await shop.proxy.url(),
      timeoutSeconds: FETCH_SECONDS,
    });
    signal.throwIfAborted();
    if (!result.ok) throw notFetched(name, result.message ?? "git failed.");
    await saving;
  } catch (error) {
    if (error instanceof BuildFailure) throw error;
    if (error instanceof EgressError || error instanceof HostGone || error instanceof ApiError) {
      throw notFetched(name, error.message);
    }
    throw error;
  } finally {
    stream.cancel();
  }
}

/** Gives the build to a host and takes what comes of it: the result, and the slug kept in the slug store. */
async function onHost(
  shop: Workshop,
  task: BuildTask,
  app: App,
  packs: Pack[],
  source: string | Readable,
  clampTime: number,
): Promise<{ result: BuildResult; slug: KeptSlug }> {
  const { control } = shop;
  const { hosts } = control;
  const { buildSeconds } = control.config;
  const waitMs = buildSeconds * 1000 + GRACE_MS;
  const streams: ExpectedStream[] = [];
  const expect = (): ExpectedStream => {
    const stream = hosts.expectStream(waitMs);
    streams.push(stream);
    return stream;
  };
  const [input, text, archive] = [expect(), expect(), expect()];
  const buildpacks: BuildBuildpack[] = packs.map(({ name, shipped, file }) => {
    if (!file) return { name, shipped, stream: null };
    const stream = expect();
    void stream.take.then((socket) => give(createReadStream(file), socket)).catch(() => {});
    return { name, shipped: null, stream: stream.id };
  });
  const order: BuildOrder = {
    build: task.id,
    app: app.id,
    appName: app.name,
    uid: app.buildUid,
    dynoUid: app.dynoUid,
    stack: app.buildStack,
    env: await control.releases.appConfig(app.id),
    operatorEnv: operatorEnvironment(process.env),
    sourceVersion: task.request.version ?? "",
    requestId: randomUUID(),
    buildpacks,
    source: input.id,
    output: text.id,
    slug: archive.id,
    clampTime,
    timeoutSeconds: buildSeconds,
    clearCache: task.clearCache,
    limits: BUILD_LIMITS,
  };
  const cancel = (): void => hosts.cancelBuild(task.id);
  task.signal.addEventListener("abort", cancel, { once: true });
  let settled = false;
  try {
    task.signal.throwIfAborted();
    const body = typeof source === "string" ? createReadStream(source) : source;
    void input.take.then((socket) => give(body, socket)).catch(() => {});
    const printed = text.take.then((socket) => copyText(socket, task.output));
    const kept = Promise.all([archive.take, printed]).then(([socket]) => shop.slugs.pack(socket));
    for (const promise of [printed, kept]) promise.catch(() => {});
    const late = new Promise<never>((_, reject) => {
      const timer = setTimeout(() => reject(new HostGone("The host did not end the build in time.")), waitMs);
      timer.unref();
    });
    // A slug that cannot be kept ends the build before its host has told the result.
    const lost = new Promise<never>((_, reject) =>
      kept.catch((error) => error instanceof StreamMissing || reject(error)),
    );
    const result = await Promise.race([hosts.build(order), late, lost]);
    task.signal.throwIfAborted();
    if (!result.ok) {
      await printed.catch(() => {});
      const { id, message, shown } = result.failure ?? {
        id: "failed",
        message: "The build failed.",
        shown: false,
      };
      throw shown ? new BuildFailure(id, message, []) : new BuildFailure(id, message);
    }
    const slug = await kept;
    hosts.settleBuild(task.id, slug.sha256);
    settled = true;
    return { result, slug };
  } catch (error) {
    if (task.signal.aborted && task.signal.reason instanceof BuildFailure) throw task.signal.reason;
    throw buildError(error);
  } finally {
    task.signal.removeEventListener("abort", cancel);
    if (!settled) {
      cancel();
      hosts.settleBuild(task.id, null);
    }
    for (const stream of streams) {
      stream.cancel();
      void stream.take.then((socket) => socket.destroy()).catch(() => {});
    }
  }
}

const give = (from: Readable, to: net.Socket): Promise<void> => pipeline(from, to);

async function copyText(socket: net.Socket, output: BuildOutput): Promise<void> {
  for await (const chunk of socket) await output.append(chunk as Buffer);
}

function buildError(error: unknown): Error {
  if (error instanceof SlugTooLarge) {
    return new BuildFailure("slug_too_large", error.message, [
      "-----> Compressing...",
      ` !     Compiled slug size: ${shortSize(error.size)} is too large (max is ${shortSize(error.limit)}).`,
      " !     See: leave out what the app does not need with a .slugignore file.",
    ]);
  }
  if (error instanceof TarError) return new BuildFailure(error.id, error.message);
  if (error instanceof HostGone || error instanceof StreamMissing) {
    return new BuildFailure("host_gone", `${error.message} Push again.`);
  }
  return error as Error;
}

async function releaseOf(
  shop: Workshop,
  { id, request, signal }: BuildTask,
  app: App,
  result: BuildResult,
  slug: KeptSlug,
): Promise<Release> {
  const { releases } = shop.control;
  const slugId = randomUUID();
  const version = request.version?.slice(0, 8) || slug.sha256.slice(0, 8);
  signal.throwIfAborted();
  try {
    return await releases.create(
      app.id,
      request.actor,
      `Deploy ${version}`,
      { slugId, config: await firstConfig(shop, app, result.configVars) },
      async (tx) => {
        await tx.query(
          `INSERT INTO slugs (id, app_id, sha256, size, process_types, stack, commit, commit_description,
             buildpack_provided_description, checksum)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
          [
            slugId,
            app.id,
            slug.sha256,
            slug.size,
            JSON.stringify(result.processTypes),
            app.buildStack,
            request.version,
            request.versionDescription,
            result.detected,
            `SHA256:${slug.sha256}`,
          ],
        );
        const { rowCount } = await tx.query(
          `UPDATE builds SET status = 'succeeded', slug_id = $2, buildpacks = $3, updated_at = now()
           WHERE id = $1 AND status = 'pending'`,
          [id, slugId, JSON.stringify(result.buildpacks)],
        );
        if (!rowCount) throw new BuildFailure("canceled", "The build was canceled.");
        await tx.query(
          `UPDATE apps SET slug_size = $2, buildpack_provided_description = $3, stack = build_stack,
             updated_at = now() WHERE id = $1`,
          [app.id, slug.size, result.detected],
        );
      },
    );
  } catch (error) {
    if (error instanceof ApiError) throw new BuildFailure(error.id, error.message);
    throw error;
  }
}

/** At an app's first deploy, the config vars that its buildpack gives and that the app does not have. */
async function firstConfig(
  shop: Workshop,
  app: App,
  given: Record<string, string>,
): Promise<Record<string, string> | undefined> {
  const { store } = shop.control;
  if (Object.keys(given).length === 0) return undefined;
  const deployed = await store.pool.query(
    "SELECT 1 FROM releases WHERE app_id = $1 AND slug_id IS NOT NULL LIMIT 1",
    [app.id],
  );
  if (deployed.rowCount) return undefined;
  const own = await shop.control.releases.appConfig(app.id);
  const added = Object.entries(given).filter(([name]) => !(name in own));
  return added.length > 0 ? Object.fromEntries(added) : undefined;
}
