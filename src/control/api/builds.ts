import { timingSafeEqual } from "node:crypto";
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { sha256 } from "../accounts.ts";
import { isUuid } from "../apps.ts";
import { readBuildpack } from "../builds/buildpacks.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import type { Queryable } from "../store/store.ts";
import { sendList } from "./lists.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf, callerOf } from "./server.ts";

/** Silence after which a reader of a build's output gets a NUL, so that nothing on the way gives it up. */
const HEARTBEAT_MS = 15_000;
/** How long an ended build's output_stream_url holds, in seconds. */
const OUTPUT_LIFE = 24 * 3600;

interface BuildRow {
  id: string;
  app_id: string;
  user_id: string;
  user_email: string;
  status: string;
  source_url: string | null;
  source_version: string | null;
  source_version_description: string | null;
  source_checksum: string | null;
  buildpacks: string[];
  stack: string;
  slug_id: string | null;
  release_id: string | null;
  output_token: string;
  created_at: Date;
  updated_at: Date;
}

/** The release that a build made is the first one with its slug. */
const SELECT = `SELECT builds.*, (SELECT id FROM releases WHERE releases.slug_id = builds.slug_id
  ORDER BY version LIMIT 1) AS release_id FROM builds`;

interface CreateBody {
  source_blob: {
    url: string;
    version?: string | null;
    version_description?: string | null;
    checksum?: string | null;
  };
  buildpacks?: { url?: string; name?: string }[];
}
const text = { type: ["string", "null"], maxLength: 4096 };
const CREATE = {
  type: "object",
  required: ["source_blob"],
  properties: {
    source_blob: {
      type: "object",
      required: ["url"],
      properties: {
        url: { type: "string", maxLength: 4096 },
        version: text,
        version_description: text,
        checksum: { type: ["string", "null"], pattern: "^(SHA256|sha256):[0-9a-fA-F]{64}$" },
      },
    },
    buildpacks: {
      type: "array",
      maxItems: 20,
      items: { type: "object", properties: { url: { type: "string" }, name: { type: "string" } } },
    },
  },
};

/** Builds of an app (Platform API reference, "Build"), their output, and the build cache. */
export function register(server: FastifyInstance, control: Control): void {
  const view = (row: BuildRow, request: FastifyRequest): object => ({
    app: { id: row.app_id },
    buildpacks: row.buildpacks.map((name) => ({ url: name, name })),
    created_at: time(row.created_at),
    generation: { id: "cedar", name: "cedar" },
    id: row.id,
    output_stream_url: `${calledBy(request, control.config).origin}/builds/${row.id}/output/${row.output_token}`,
    release: row.release_id ? { id: row.release_id } : null,
    slug: row.slug_id ? { id: row.slug_id } : null,
    source_blob: {
      checksum: row.source_checksum,
      url: row.source_url ?? "",
      version: row.source_version,
      version_description: row.source_version_description,
    },
    stack: row.stack,
    status: row.status,
    updated_at: time(row.updated_at),
    user: { id: row.user_id, email: row.user_email },
  });
  const find = async (store: Queryable, app: string, id: string): Promise<BuildRow> => {
    if (!isUuid(id)) throw notFound("build");
    const { rows } = await store.query<BuildRow>(`${SELECT} WHERE builds.app_id = $1 AND builds.id = $2`, [
      app,
      id,
    ]);
    if (!rows[0]) throw notFound("build");
    return rows[0];
  };
  const idOf = (request: FastifyRequest): string => (request.params as { build: string }).build;

  server.post("/apps/:app/builds", { schema: { body: CREATE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const body = request.body as CreateBody;
    const blob = body.source_blob;
    if (!URL.canParse(blob.url) || !/^https?:/.test(blob.url)) {
      throw invalidParams("source_blob.url must be the http or https URL of a .tar.gz.");
    }
    const buildpacks = body.buildpacks?.map(({ url, name }) => {
      const given = url ?? name ?? "";
      readBuildpack(given, control.config.buildpackPath);
      return given;
    });
    const build = await control.builds.start({
      appId: app.id,
      actor: callerOf(request),
      source: { url: blob.url, checksum: blob.checksum ?? null },
      version: blob.version || null,
      versionDescription: blob.version_description || null,
      buildpacks: buildpacks?.length ? buildpacks : null,
    });
    return reply.code(201).send(view(await find(control.store.pool, app.id, build.id), request));
  });

  server.get("/apps/:app/builds", async (request, reply) => {
    const app = await appOf(control, request);
    const { rows } = await control.store.pool.query<BuildRow>(`${SELECT} WHERE builds.app_id = $1`, [app.id]);
    const items = rows.map((row) => view(row, request) as { id: string; created_at: string });
    return sendList(request, reply, items, ["id", "created_at"]);
  });

  server.get("/apps/:app/builds/:build", async (request) => {
    const app = await appOf(control, request);
    return view(await find(control.store.pool, app.id, idOf(request)), request);
  });

  server.delete("/apps/:app/builds/:build", async (request, reply) => {
    const app = await appOf(control, request);
    const row = await find(control.store.pool, app.id, idOf(request));
    await control.builds.cancel(row.id);
    return reply.code(202).send(view(await find(control.store.pool, app.id, row.id), request));
  });

  server.delete("/apps/:app/build-cache", async (request, reply) => {
    const app = await appOf(control, request);
    control.builds.clearCache(app.id);
    return reply.code(202).send({ app: { id: app.id, name: app.name } });
  });

  server.get("/builds/:build/output/:token", { config: { open: true } }, async (request, reply) => {
    const { build, token } = request.params as { build: string; token: string };
    if (!isUuid(build)) throw notFound("build");
    const { rows } = await control.store.pool.query<{ output_token: string; old: boolean }>(
      `SELECT output_token, status <> 'pending' AND updated_at < now() - $2 * interval '1 second' AS old
       FROM builds WHERE id = $1`,
      [build, OUTPUT_LIFE],
    );
    const row = rows[0];
    if (!row || row.old || !timingSafeEqual(sha256(token), sha256(row.output_token)))
      throw notFound("build output");
    const from = startOf(request);
    const output = await control.builds.output(build, from);
    if (!output) throw notFound("build output");
    sendOutput(request, reply, output, from);
    return reply;
  });
}

/** Byte from which a reader goes on: `Range: bytes=N-`, or the `Last-Event-ID` that it had last. */
export function startOf(request: FastifyRequest): number {
  const range = /^bytes=(\d{1,12})-$/.exec(request.headers.range ?? "");
  if (range) return Number(range[1]);
  const last = String(request.headers["last-event-id"] ?? "");
  return /^\d{1,12}$/.test(last) ? Number(last) : 0;
}

/** Streams text that grows, from byte `from`, as plain text or as server-sent events; NULs keep it alive. */
export function sendOutput(
  request: FastifyRequest,
  reply: FastifyReply,
  output: Readable,
  from: number,
): void {
  const events = (request.headers.accept ?? "").includes("text/event-stream");
  reply.hijack();
  const raw = reply.raw;
  raw.writeHead(request.headers.range && !events ? 206 : 200, {
    "Content-Type": events ? "text/event-stream; charset=utf-8" : "text/plain; charset=utf-8",
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Origin": "*",
    ...(request.headers.range && !events ? { "Content-Range": `bytes ${from}-/*` } : {}),
  });
  raw.flushHeaders();
  const beat = setInterval(() => raw.write(events ? ":\n\n" : "\0"), HEARTBEAT_MS);
  let at = from;
  output.on("data", (chunk: Buffer) => {
    at += chunk.length;
    const more = raw.write(events ? eventOf(chunk, at) : chunk);
    beat.refresh();
    if (more) return;
    output.pause();
    raw.once("drain", () => output.resume());
  });
  output.on("error", () => raw.destroy());
  output.on("end", () => raw.end(events ? "event: eof\ndata: \n\n" : ""));
  raw.on("close", () => {
    clearInterval(beat);
    output.destroy();
  });
}

/** One event a piece: its id is the byte behind it; a newline in the text begins another data line. */
function eventOf(chunk: Buffer, end: number): string {
  const lines = chunk
    .toString("utf8")
    .split("\n")
    .map((line) => `data: ${line}`);
  return `id: ${end}\n${lines.join("\n")}\n\n`;
}
