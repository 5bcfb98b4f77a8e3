import type { FastifyInstance } from "fastify";
import { newToken } from "../accounts.ts";
import { isUuid } from "../apps.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { SCOPES } from "./scopes.ts";
import { callerOf } from "./server.ts";

/** A token that lasts longer can be made by leaving expires_in out. */
const LONGEST_SECONDS = 10 * 365 * 86_400;

interface AuthorizationRow {
  id: string;
  scope: string[];
  description: string;
  expiresAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}
const COLUMNS = `id, scope, description, expires_at AS "expiresAt", created_at AS "createdAt", updated_at AS "updatedAt"`;

/** The token's text is in the answer that made it and nowhere else: the store has its hash only. */
function shown(row: AuthorizationRow, user: { id: string; email: string }, token: string | null) {
  const left = row.expiresAt && Math.max(0, Math.ceil((row.expiresAt.getTime() - Date.now()) / 1000));
  return {
    access_token: { expires_in: left, id: row.id, token },
    client: null,
    created_at: time(row.createdAt),
    description: row.description,
    grant: null,
    id: row.id,
    refresh_token: null,
    scope: row.scope,
    session: null,
    updated_at: time(row.updatedAt),
    user: { id: user.id, email: user.email, full_name: null },
  };
}

export function register(server: FastifyInstance, control: Control): void {
  const { store } = control;
  const find = async (account: string, id: string): Promise<AuthorizationRow> => {
    const { rows } = isUuid(id)
      ? await store.pool.query<AuthorizationRow>(
          `SELECT ${COLUMNS} FROM authorizations WHERE account_id = $1 AND id = $2`,
          [account, id],
        )
      : { rows: [] };
    if (!rows[0]) throw notFound("authorization");
    return rows[0];
  };

  server.get("/oauth/authorizations", async (request, reply) => {
    const caller = callerOf(request);
    const { rows } = await store.pool.query<AuthorizationRow>(
      `SELECT ${COLUMNS} FROM authorizations WHERE account_id = $1 AND (expires_at IS NULL OR expires_at > now())`,
      [caller.id],
    );
    return sendList(
      request,
      reply,
      rows.map((row) => shown(row, caller, null)),
      ["id", "created_at"],
    );
  });

  server.get<{ Params: { id: string } }>("/oauth/authorizations/:id", async (request) => {
    const caller = callerOf(request);
    return shown(await find(caller.id, request.params.id), caller, null);
  });

  server.post<{ Body?: { scope?: string[]; description?: string; expires_in?: number | null } | null }>(
    "/oauth/authorizations",
    {
      schema: {
        body: {
          type: ["object", "null"],
          properties: {
            scope: { type: "array", items: { enum: [...SCOPES] }, minItems: 1 },
            description: { type: "string", maxLength: 1000 },
            expires_in: { type: ["integer", "null"], minimum: 1, maximum: LONGEST_SECONDS },
          },
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { scope = ["global"], description = "", expires_in: seconds = null } = request.body ?? {};
      const { token, hash } = newToken();
      const { rows } = await store.pool.query<AuthorizationRow>(
        `INSERT INTO authorizations (account_id, token_sha256, scope, description, expires_at)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5)) RETURNING ${COLUMNS}`,
        [caller.id, hash, scope, description, seconds],
      );
      return reply.code(201).send(shown(rows[0]!, caller, token));
    },
  );

  server.delete<{ Params: { id: string } }>("/oauth/authorizations/:id", async (request) => {
    const caller = callerOf(request);
    const row = await find(caller.id, request.params.id);
    const { rowCount } = await store.pool.query(
      "DELETE FROM authorizations WHERE id = $1 AND NOT owner_key",
      [row.id],
    );
    if (!rowCount) {
      throw invalidParams(
        "This is the key that Sluice was started with; start it with another SLUICE_API_KEY (or without its api-key file) to revoke it.",
      );
    }
    return shown(row, caller, null);
  });
}
