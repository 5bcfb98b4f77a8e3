import type { FastifyInstance } from "fastify";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { callerOf } from "./server.ts";

interface AccountRow {
  id: string;
  email: string;
  createdAt: Date;
  updatedAt: Date;
}

const shown = (account: AccountRow) => ({
  allow_tracking: false,
  beta: false,
  country_of_residence: null,
  created_at: time(account.createdAt),
  default_organization: null,
  default_team: null,
  delinquent_at: null,
  email: account.email,
  federated: false,
  id: account.id,
  identity_provider: null,
  last_login: null,
  name: null,
  sms_number: null,
  suspended_at: null,
  two_factor_authentication: false,
  updated_at: time(account.updatedAt),
  verified: true,
});

export function register(server: FastifyInstance, control: Control): void {
  const read = async (column: "id" | "email", value: string) => {
    const { rows } = await control.store.pool.query<AccountRow>(
      `SELECT id, email, created_at AS "createdAt", updated_at AS "updatedAt" FROM accounts WHERE ${column} = $1`,
      [value],
    );
    if (!rows[0]) throw notFound("account");
    return shown(rows[0]);
  };

  server.get("/account", (request) => read("id", callerOf(request).id));
  server.get<{ Params: { user: string } }>("/users/:user", (request) => {
    const caller = callerOf(request);
    const { user } = request.params;
    if (user === "~" || user === caller.id || user === caller.email) return read("id", caller.id);
    throw notFound("account");
  });
  server.get("/account/rate-limits", async (request) => ({
    remaining: control.rate.remaining(callerOf(request).id),
  }));
  server.get("/account/features", (request, reply) =>
    sendList(request, reply, [] as { id: string }[], ["id"]),
  );
  server.get("/account/keys", (request, reply) => sendList(request, reply, [] as { id: string }[], ["id"]));
}
