import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { randomSecret } from "../../config/environment.ts";
import { sha256 } from "../accounts.ts";
import { isUuid } from "../apps.ts";
import { SlugTooLarge } from "../builds/slug-store.ts";
import type { Control } from "../control.ts";
import { ApiError, invalidParams, notFound } from "../errors.ts";
import type { Queryable } from "../store/store.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf, rawBodies } from "./server.ts";

/** How long a blob's URL holds, in seconds. */
const BLOB_LIFE = 3600;

interface SlugRow {
  id: string;
  sha256: string | null;
  size: number | null;
  process_types: Record<string, string>;
  stack: string;
  commit: string | null;
  commit_description: string | null;
  buildpack_provided_description: string | null;
  checksum: string | null;
  created_at: Date;
  updated_at: Date;
}

interface CreateBody {
  process_types: Record<string, string>;
  stack?: string | null;
  commit?: string | null;
  commit_description?: string | null;
  checksum?: string | null;
  buildpack_provided_description?: string | null;
}
const text = { type: ["string", "null"], maxLength: 4096 };
const CREATE = {
  type: "object",
  required: ["process_types"],
  properties: {
    process_types: {
      type: "object",
      maxProperties: 100,
      propertyNames: { pattern: "^[-\\w]{1,128}$" },
      additionalProperties: { type: "string", minLength: 1, maxLength: 65536 },
    },
    stack: text,
    commit: text,
    commit_description: text,
    checksum: { type: ["string", "null"], pattern: "^(SHA256|sha256):[0-9a-fA-F]{64}$" },
    buildpack_provided_description: text,
  },
};

/** Slugs (Platform API reference, "Slug"): made, put as a .tar.gz rooted at ./app, and read back. */
export function register(server: FastifyInstance, control: Control): void {
  const { slugs } = control.builds;
  const { pool } = control.store;

  const capability = async (slug: string, purpose: "slug_put" | "slug_get"): Promise<string> => {
    const token = randomSecret();
    await pool.query(
      `INSERT INTO capabilities (token_sha256, purpose, object_id, expires_at)
       VALUES ($1, $2, $3, now() + $4 * interval '1 second')`,
      [sha256(token), purpose, slug, BLOB_LIFE],
    );
    return token;
  };
  const view = async (row: SlugRow, request: FastifyRequest, method: "put" | "get"): Promise<object> => ({
    blob: {
      method,
      url: `${calledBy(request, control.config).origin}/slugs/${row.id}/${await capability(row.id, method === "put" ? "slug_put" : "slug_get")}`,
    },
    buildpack_provided_description: row.buildpack_provided_description,
    checksum: row.checksum,
    commit: row.commit,
    commit_description: row.commit_description,
    created_at: time(row.created_at),
    deleted_at: null,
    id: row.id,
    process_types: row.process_types,
    size: row.size,
    stack: { id: row.stack, name: row.stack },
    updated_at: time(row.updated_at),
  });

  server.post("/apps/:app/slugs", { schema: { body: CREATE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const body = request.body as CreateBody;
    const stack = body.stack ?? app.buildStack;
    if (stack !== app.stack && stack !== app.buildStack) {
      throw invalidParams(`The stack ${stack} is not this app's; it runs on ${app.buildStack}.`);
    }
    const { rows } = await pool.query<SlugRow>(
      `INSERT INTO slugs (app_id, process_types, stack, commit, commit_description, checksum,
         buildpack_provided_description)
       VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *`,
      [
        app.id,
        JSON.stringify(body.process_types),
        stack,
        body.commit ?? null,
        body.commit_description ?? null,
        body.checksum ?? null,
        body.buildpack_provided_description ?? null,
      ],
    );
    return reply.code(201).send(await view(rows[0]!, request, "put"));
  });

  server.get("/apps/:app/slugs/:slug", async (request) => {
    const app = await appOf(control, request);
    const { slug } = request.params as { slug: string };
    if (!isUuid(slug)) throw notFound("slug");
    const { rows } = await pool.query<SlugRow>("SELECT * FROM slugs WHERE app_id = $1 AND id = $2", [
      app.id,
      slug,
    ]);
    if (!rows[0]) throw notFound("slug");
    return view(rows[0], request, "get");
  });

  server.register(async (scope) => {
    rawBodies(scope);
    const options = { config: { open: true } };
    const check = async (store: Queryable, request: FastifyRequest, purpose: string): Promise<SlugRow> => {
      const { slug, token } = request.params as { slug: string; token: string };
      if (!isUuid(slug)) throw notFound("slug");
      const { rows } = await store.query<SlugRow>(
        `SELECT slugs.* FROM slugs JOIN capabilities ON object_id = slugs.id
         WHERE slugs.id = $1 AND token_sha256 = $2 AND purpose = $3 AND expires_at > now()`,
        [slug, sha256(token), purpose],
      );
      if (!rows[0]) throw notFound("slug URL (it may have expired)");
      return rows[0];
    };

    scope.put("/slugs/:slug/:token", options, async (request, reply) => {
      const row = await check(pool, request, "slug_put");
      if (row.sha256)
        throw new ApiError(409, "conflict", "This slug's archive was put already; make a new slug.");
      const kept = await slugs.keep(request.body as Readable).catch((error) => {
        if (error instanceof SlugTooLarge) throw new ApiError(413, "request_too_large", error.message);
        throw error;
      });
      try {
        const wanted = row.checksum?.slice(7).toLowerCase();
        if (wanted && wanted !== kept.sha256) {
          throw invalidParams(
            `The archive's checksum is SHA256:${kept.sha256}, not the one given; put it again.`,
          );
        }
        await pool.query(
          `UPDATE slugs SET sha256 = $2, size = $3, checksum = $4, updated_at = now() WHERE id = $1`,
          [row.id, kept.sha256, kept.size, `SHA256:${kept.sha256}`],
        );
      } finally {
        slugs.settle(kept.sha256);
      }
      return reply.code(200).send();
    });

    scope.get("/slugs/:slug/:token", options, async (request, reply) => {
      const row = await check(pool, request, "slug_get");
      if (!row.sha256) throw notFound("slug archive (it was not put yet)");
      return reply
        .type("application/gzip")
        .header("Content-Length", row.size ?? 0)
        .send(slugs.read(row.sha256));
    });
  });
}
