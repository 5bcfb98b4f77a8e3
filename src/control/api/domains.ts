import type { FastifyInstance } from "fastify";
import { type App, isUuid, lockApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { readHostname } from "../domains.ts";
import { ApiError, invalidParams, notFound } from "../errors.ts";
import { isDuplicate } from "../store/postgres.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

/** Each custom domain is a name in a certificate and in every edge's table. */
const DOMAINS_AN_APP = 1000;

interface DomainRow {
  id: string;
  hostname: string;
  kind: "heroku" | "custom";
  createdAt: Date;
  updatedAt: Date;
}
const COLUMNS = `id, hostname, kind, created_at AS "createdAt", updated_at AS "updatedAt"`;

export function register(server: FastifyInstance, control: Control): void {
  const { store } = control;

  /** A custom domain's CNAME is the app's own host name. */
  const shown = (app: App, domain: DomainRow) => ({
    acm_status: null,
    acm_status_reason: null,
    app: { id: app.id, name: app.name },
    cname: domain.kind === "custom" ? `${app.name}.${control.config.appDomain}` : null,
    created_at: time(domain.createdAt),
    hostname: domain.hostname,
    id: domain.id,
    kind: domain.kind,
    sni_endpoint: null,
    status: "none",
    updated_at: time(domain.updatedAt),
  });
  const find = async (app: App, domain: string): Promise<DomainRow> => {
    const column = isUuid(domain) ? "id" : "hostname";
    const { rows } = await store.pool.query<DomainRow>(
      `SELECT ${COLUMNS} FROM domains WHERE app_id = $1 AND ${column} = $2`,
      [app.id, domain.toLowerCase()],
    );
    if (!rows[0]) throw notFound("domain");
    return rows[0];
  };
  /** The certificate first: when the edges have applied the route, they have it too. */
  const publish = async (app: App): Promise<void> => {
    await control.routeCertificates.changed(app.id);
    await control.formation.publishRoute(app.id);
  };

  server.get("/apps/:app/domains", async (request, reply) => {
    const app = await appOf(control, request);
    const { rows } = await store.pool.query<DomainRow>(`SELECT ${COLUMNS} FROM domains WHERE app_id = $1`, [
      app.id,
    ]);
    return sendList(
      request,
      reply,
      rows.map((domain) => shown(app, domain)),
      ["id", "hostname"],
    );
  });

  server.get<{ Params: { domain: string } }>("/apps/:app/domains/:domain", async (request) => {
    const app = await appOf(control, request);
    return shown(app, await find(app, request.params.domain));
  });

  server.post<{ Body: { hostname: string; sni_endpoint?: string | null } }>(
    "/apps/:app/domains",
    {
      schema: {
        body: {
          type: "object",
          required: ["hostname"],
          properties: { hostname: { type: "string" }, sni_endpoint: { type: ["string", "null"] } },
        },
      },
    },
    async (request, reply) => {
      const app = await appOf(control, request);
      const hostname = readHostname(request.body.hostname, control.config.appDomain);
      if (request.body.sni_endpoint) {
        throw notFound("SNI endpoint; give null, and the domain has a certificate of Sluice's own CA");
      }
      const added = await store
        .transaction(async (tx) => {
          await lockApp(tx, app.id);
          const { rows: count } = await tx.query<{ n: number }>(
            "SELECT count(*) AS n FROM domains WHERE app_id = $1",
            [app.id],
          );
          if (count[0]!.n > DOMAINS_AN_APP) {
            throw invalidParams(`An app has at most ${DOMAINS_AN_APP} custom domains; remove one first.`);
          }
          const { rows } = await tx.query<DomainRow>(
            `INSERT INTO domains (app_id, hostname, kind) VALUES ($1, $2, 'custom') RETURNING ${COLUMNS}`,
            [app.id, hostname],
          );
          return rows[0]!;
        })
        .catch((error: unknown) => {
          if (!isDuplicate(error, "domains_hostname_key")) throw error;
          throw invalidParams(
            `Domain ${hostname} is already in use; remove it from the app that has it first.`,
          );
        });
      await publish(app);
      return reply.code(201).send(shown(app, added));
    },
  );

  server.delete<{ Params: { domain: string } }>("/apps/:app/domains/:domain", async (request) => {
    const app = await appOf(control, request);
    const domain = await find(app, request.params.domain);
    if (domain.kind === "heroku") {
      throw new ApiError(
        422,
        "invalid_params",
        `${domain.hostname} is the app's own name and stays with it; rename the app to change it.`,
      );
    }
    await store.pool.query("DELETE FROM domains WHERE id = $1", [domain.id]);
    await publish(app);
    return shown(app, domain);
  });

  // Certificates of the operator's own are not taken yet; the CLI asks for the list before it adds a domain.
  server.get("/apps/:app/sni-endpoints", async (request, reply) => {
    await appOf(control, request);
    return sendList(request, reply, [] as { id: string }[], ["id"]);
  });
}
