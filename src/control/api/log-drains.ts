import { createHash, randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { type App, isUuid, lockApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import { isDuplicate } from "../store/postgres.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

const SCHEMES = new Set(["syslog:", "syslog+tls:", "https:", "http:"]);
const LONGEST_URL = 2048;

interface DrainRow {
  id: string;
  token: string;
  url: Buffer;
  createdAt: Date;
  updatedAt: Date;
}
const COLUMNS = `id, token, url, created_at AS "createdAt", updated_at AS "updatedAt"`;

/** @throws ApiError 422 when no drain can be at `url`. */
function checkUrl(url: string): void {
  let parsed: URL | null = null;
  try {
    parsed = new URL(url);
  } catch {
    // Told below.
  }
  if (!parsed || !SCHEMES.has(parsed.protocol) || !parsed.hostname || url.length > LONGEST_URL) {
    throw invalidParams(
      "URL is not one that a drain can have; write https://…, http://…, syslog://HOST:PORT or syslog+tls://HOST:PORT.",
    );
  }
}

const digest = (url: string): Buffer => createHash("sha256").update(url).digest();

export function register(server: FastifyInstance, control: Control): void {
  const { store } = control;
  const most = control.config.drainsAnApp;
  const shown = (app: App, drain: DrainRow) => ({
    addon: null,
    app: { id: app.id, name: app.name },
    created_at: time(drain.createdAt),
    id: drain.id,
    token: drain.token,
    updated_at: time(drain.updatedAt),
    url: store.unseal(`log_drains.url:${drain.id}`, drain.url),
  });
  /** A drain by its id, its token or its URL. */
  const find = async (app: App, drain: string): Promise<DrainRow> => {
    const { rows } = await store.pool.query<DrainRow>(
      `SELECT ${COLUMNS} FROM log_drains WHERE app_id = $1 AND (id = $2 OR token = $3 OR url_sha256 = $4)`,
      [app.id, isUuid(drain) ? drain : null, drain, digest(drain)],
    );
    if (!rows[0]) throw notFound("drain");
    return rows[0];
  };

  server.get("/apps/:app/log-drains", async (request, reply) => {
    const app = await appOf(control, request);
    const { rows } = await store.pool.query<DrainRow>(`SELECT ${COLUMNS} FROM log_drains WHERE app_id = $1`, [
      app.id,
    ]);
    return sendList(
      request,
      reply,
      rows.map((drain) => shown(app, drain)),
      ["id", "created_at"],
    );
  });

  server.get<{ Params: { drain: string } }>("/apps/:app/log-drains/:drain", async (request) => {
    const app = await appOf(control, request);
    return shown(app, await find(app, request.params.drain));
  });

  server.post<{ Body: { url: string } }>(
    "/apps/:app/log-drains",
    { schema: { body: { type: "object", required: ["url"], properties: { url: { type: "string" } } } } },
    async (request, reply) => {
      const app = await appOf(control, request);
      const { url } = request.body;
      checkUrl(url);
      const id = randomUUID();
      const added = await store
        .transaction(async (tx) => {
          await lockApp(tx, app.id);
          const { rows: count } = await tx.query<{ n: number }>(
            "SELECT count(*) AS n FROM log_drains WHERE app_id = $1",
            [app.id],
          );
          if (count[0]!.n >= most) {
            throw invalidParams(`You have already added ${most} drains to ${app.name}; remove one first.`);
          }
          const { rows } = await tx.query<DrainRow>(
            `INSERT INTO log_drains (id, app_id, token, url, url_sha256) VALUES ($1, $2, $3, $4, $5)
             RETURNING ${COLUMNS}`,
            [id, app.id, `d.${randomUUID()}`, store.seal(`log_drains.url:${id}`, url), digest(url)],
          );
          return rows[0]!;
        })
        .catch((error: unknown) => {
          if (!isDuplicate(error, "log_drains_app_id_url_sha256_key")) throw error;
          throw invalidParams("URL is already the URL of a drain of this app.");
        });
      await control.logSettings.changed(app.id);
      return reply.code(201).send(shown(app, added));
    },
  );

  server.delete<{ Params: { drain: string } }>("/apps/:app/log-drains/:drain", async (request) => {
    const app = await appOf(control, request);
    const drain = await find(app, request.params.drain);
    await store.pool.query("DELETE FROM log_drains WHERE id = $1", [drain.id]);
    await control.logSettings.changed(app.id);
    return shown(app, drain);
  });
}
