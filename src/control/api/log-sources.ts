import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { randomSecret } from "../../config/environment.ts";
import { type App, isUuid, lockApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import { isDuplicate } from "../store/postgres.ts";
import { sendList } from "./lists.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

/** Shown in `app[<name>]`, so it must look like a process name. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$/;
const SOURCES_AN_APP = 100;

interface SourceRow {
  id: string;
  name: string;
  token: Buffer;
  createdAt: Date;
  updatedAt: Date;
}
const COLUMNS = `id, name, token, created_at AS "createdAt", updated_at AS "updatedAt"`;

export function register(server: FastifyInstance, control: Control): void {
  const { store } = control;
  const { syslogPort, httpPort } = control.config.logplex;
  /** Outside log sources are Sluice's own addition; the token goes into syslog's app-name field (48 characters). */
  const shown = (app: App, source: SourceRow, hostname: string) => ({
    app: { id: app.id, name: app.name },
    created_at: time(source.createdAt),
    http_url: `http://${hostname}:${httpPort}/logs`,
    id: source.id,
    name: source.name,
    syslog_url: `syslog://127.0.0.1:${syslogPort}`,
    token: store.unseal(`log_sources.token:${source.id}`, source.token),
    updated_at: time(source.updatedAt),
  });
  const find = async (app: App, source: string): Promise<SourceRow> => {
    const { rows } = await store.pool.query<SourceRow>(
      `SELECT ${COLUMNS} FROM log_sources WHERE app_id = $1 AND ${isUuid(source) ? "id" : "name"} = $2`,
      [app.id, source],
    );
    if (!rows[0]) throw notFound("log source");
    return rows[0];
  };

  server.get("/apps/:app/log-sources", async (request, reply) => {
    const app = await appOf(control, request);
    const { hostname } = calledBy(request, control.config);
    const { rows } = await store.pool.query<SourceRow>(
      `SELECT ${COLUMNS} FROM log_sources WHERE app_id = $1`,
      [app.id],
    );
    return sendList(
      request,
      reply,
      rows.map((source) => shown(app, source, hostname)),
      ["id", "name"],
    );
  });

  server.post<{ Body: { name: string } }>(
    "/apps/:app/log-sources",
    { schema: { body: { type: "object", required: ["name"], properties: { name: { type: "string" } } } } },
    async (request, reply) => {
      const app = await appOf(control, request);
      const { name } = request.body;
      if (!NAME.test(name)) {
        throw invalidParams("name must have 1 to 48 letters, digits, dots, dashes or underscores.");
      }
      const id = randomUUID();
      const added = await store
        .transaction(async (tx) => {
          await lockApp(tx, app.id);
          const { rows: count } = await tx.query<{ n: number }>(
            "SELECT count(*) AS n FROM log_sources WHERE app_id = $1",
            [app.id],
          );
          if (count[0]!.n >= SOURCES_AN_APP) {
            throw invalidParams(`An app has at most ${SOURCES_AN_APP} log sources; remove one first.`);
          }
          const { rows } = await tx.query<SourceRow>(
            `INSERT INTO log_sources (id, app_id, name, token) VALUES ($1, $2, $3, $4) RETURNING ${COLUMNS}`,
            [id, app.id, name, store.seal(`log_sources.token:${id}`, `t.${randomSecret()}`)],
          );
          return rows[0]!;
        })
        .catch((error: unknown) => {
          if (!isDuplicate(error, "log_sources_app_id_name_key")) throw error;
          throw invalidParams(`${app.name} has a log source ${name} already; choose another name.`);
        });
      await control.logSettings.changed(app.id);
      return reply.code(201).send(shown(app, added, calledBy(request, control.config).hostname));
    },
  );

  server.delete<{ Params: { source: string } }>("/apps/:app/log-sources/:source", async (request) => {
    const app = await appOf(control, request);
    const source = await find(app, request.params.source);
    await store.pool.query("DELETE FROM log_sources WHERE id = $1", [source.id]);
    await control.logSettings.changed(app.id);
    return shown(app, source, calledBy(request, control.config).hostname);
  });
}
