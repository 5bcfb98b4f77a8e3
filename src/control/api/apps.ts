import { setTimeout as pause } from "node:timers/promises";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Caller } from "../accounts.ts";
import { checkName, inventName } from "../app-names.ts";
import { type App, allApps, findApp, lockApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { ownHostname } from "../domains.ts";
import { invalidParams, notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import { machineStack, STACKS } from "../stacks.ts";
import { isDuplicate } from "../store/postgres.ts";
import type { Queryable } from "../store/store.ts";
import { sendList } from "./lists.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { REGION } from "./regions.ts";
import { appOf, callerOf } from "./server.ts";

/** How long an answer to DELETE waits for what the app leaves to be freed. */
const LEAVE_MS = 2000;
/** Tries at an invented name; each is taken once in some million times. */
const NAME_TRIES = 5;

/** What every app's ledger begins with (contract, section 5). */
const FIRST_RELEASES = ["Initial release", "Enable Logplex"] as const;

const stackRef = (name: string) => ({ id: fixedId("stack", name), name });

/** Reads a stack given as `"heroku-24"`, `{name}` or an id. @throws ApiError 422 */
function readStack(given: unknown): string {
  const text =
    typeof given === "object" && given ? (given as { name?: string; id?: string }) : { name: given };
  const stack = STACKS.find(
    (name) => name === text.name || fixedId("stack", name) === (text as { id?: string }).id,
  );
  if (!stack) throw invalidParams(`There is no such stack; choose one of ${STACKS.join(", ")}.`);
  return stack;
}

/** An app as the API shows it. */
function shown(control: Control, request: FastifyRequest, app: App) {
  const { appDomain, edge } = control.config;
  const port = edge.port === 80 ? "" : `:${edge.port}`;
  return {
    acm: false,
    archived_at: null,
    build_stack: stackRef(app.buildStack),
    buildpack_provided_description: app.buildpackProvidedDescription,
    create_status: "complete",
    created_at: time(app.createdAt),
    generation: { id: fixedId("generation", "cedar"), name: "cedar" },
    git_url: `${calledBy(request, control.config).origin}/${app.name}.git`,
    id: app.id,
    internal_routing: null,
    maintenance: app.maintenance,
    name: app.name,
    organization: null,
    owner: { email: app.ownerEmail, id: app.ownerId },
    process_tier: "production",
    region: { id: REGION.id, name: REGION.name },
    released_at: time(app.releasedAt),
    repo_size: app.repoSize,
    slug_size: app.slugSize,
    space: null,
    stack: stackRef(app.stack),
    team: null,
    updated_at: time(app.updatedAt),
    web_url: `http://${ownHostname(app.name, appDomain)}${port}/`,
  };
}

const CREATE = {
  type: "object",
  properties: {
    name: { type: ["string", "null"] },
    region: { type: ["string", "object", "null"] },
    stack: { type: ["string", "object", "null"] },
  },
};
const CHANGE = {
  type: "object",
  properties: {
    name: { type: "string" },
    maintenance: { type: "boolean" },
    build_stack: { type: ["string", "object"] },
  },
};

/** An app with its host name and the first two rows of its ledger, all or nothing. */
async function insertApp(
  control: Control,
  tx: Queryable,
  caller: Caller,
  name: string,
  stack: string,
): Promise<App> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO apps (name, owner_id, stack, build_stack, next_version, released_at)
     VALUES ($1, $2, $3, $3, $4, now()) RETURNING id`,
    [name, caller.id, stack, FIRST_RELEASES.length + 1],
  );
  const { id } = rows[0]!;
  await tx.query("INSERT INTO domains (app_id, hostname, kind) VALUES ($1, $2, 'heroku')", [
    id,
    ownHostname(name, control.config.appDomain),
  ]);
  for (const [index, description] of FIRST_RELEASES.entries()) {
    await tx.query(
      `INSERT INTO releases (app_id, version, description, user_id, user_email, status, epoch)
       VALUES ($1, $2, $3, $4, $5, 'succeeded', $6)`,
      [id, index + 1, description, caller.id, caller.email, control.store.epoch],
    );
  }
  return findApp(tx, id);
}

async function createApp(
  control: Control,
  caller: Caller,
  given: string | null,
  stack: string,
): Promise<App> {
  for (let tries = 1; ; tries++) {
    const name = given ?? inventName();
    checkName(name);
    try {
      return await control.store.transaction((tx) => insertApp(control, tx, caller, name, stack));
    } catch (error) {
      if (!isDuplicate(error, "apps_name_key")) throw error;
      if (given || tries === NAME_TRIES) throw invalidParams(`Name ${name} is already taken.`);
    }
  }
}

export function register(server: FastifyInstance, control: Control): void {
  const { store } = control;

  /** Tells edges and Logplex what the app is called and reached by now; with the route, edges have its certificate. */
  const publish = async (appId: string): Promise<void> => {
    await Promise.all([control.logSettings.changed(appId), control.routeCertificates.changed(appId)]);
    await control.formation.publishRoute(appId);
  };

  server.post<{ Body?: { name?: string | null; stack?: unknown; region?: unknown } }>(
    "/apps",
    { schema: { body: { ...CREATE, type: ["object", "null"] } } },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name, stack } = request.body ?? {};
      const app = await createApp(control, caller, name ?? null, stack ? readStack(stack) : machineStack());
      await publish(app.id);
      const now = Date.now() * 1000;
      for (const [index, description] of FIRST_RELEASES.entries()) {
        control.appLog.api(app.id, `${description} by user ${caller.email}`, now);
        control.appLog.api(app.id, `Release v${index + 1} created by user ${caller.email}`, now);
      }
      return reply.code(201).send(shown(control, request, app));
    },
  );

  const list = async (request: FastifyRequest) =>
    (await allApps(store.pool)).map((app) => shown(control, request, app));
  server.get("/apps", async (request, reply) =>
    sendList(request, reply, await list(request), ["name", "id", "updated_at"]),
  );
  server.get<{ Params: { user: string } }>("/users/:user/apps", async (request, reply) => {
    const { user } = request.params;
    const { id, email } = callerOf(request);
    if (user !== "~" && user !== id && user !== email) throw notFound("account");
    return sendList(request, reply, await list(request), ["name", "id", "updated_at"]);
  });

  server.get("/apps/:app", async (request) => shown(control, request, await appOf(control, request)));

  server.patch<{ Body: { name?: string; maintenance?: boolean; build_stack?: unknown } }>(
    "/apps/:app",
    { schema: { body: CHANGE } },
    async (request) => {
      const app = await appOf(control, request);
      const { name, maintenance, build_stack } = request.body;
      if (name !== undefined && name !== app.name) checkName(name);
      const stack = build_stack === undefined ? null : readStack(build_stack);
      try {
        await store.transaction(async (tx) => {
          await lockApp(tx, app.id);
          await tx.query(
            `UPDATE apps SET name = coalesce($2, name), maintenance = coalesce($3, maintenance),
               build_stack = coalesce($4, build_stack), updated_at = now() WHERE id = $1`,
            [app.id, name ?? null, maintenance ?? null, stack],
          );
          if (name !== undefined) {
            await tx.query(
              "UPDATE domains SET hostname = $2, updated_at = now() WHERE app_id = $1 AND kind = 'heroku'",
              [app.id, ownHostname(name, control.config.appDomain)],
            );
          }
        });
      } catch (error) {
        if (isDuplicate(error, "apps_name_key")) throw invalidParams(`Name ${name} is already taken.`);
        throw error;
      }
      await publish(app.id);
      return shown(control, request, await findApp(store.pool, app.id));
    },
  );

  server.delete("/apps/:app", async (request) => {
    const app = await appOf(control, request);
    const answer = shown(control, request, app);
    await store.transaction(async (tx) => {
      await lockApp(tx, app.id);
      await tx.query(
        `INSERT INTO leavings (app_id, name, dyno_uid, build_uid, release_ids)
         VALUES ($1, $2, $3, $4, ARRAY(SELECT id FROM releases WHERE app_id = $1))`,
        [app.id, app.name, app.dynoUid, app.buildUid],
      );
      await tx.query("DELETE FROM apps WHERE id = $1", [app.id]);
    });
    await Promise.all([control.logSettings.changed(app.id), control.routeCertificates.changed(app.id)]);
    // The routes are gone at once; a build that is still to be ended may take longer than the client waits.
    await Promise.race([control.leavings.left(app.id), pause(LEAVE_MS, undefined, { ref: false })]);
    return answer;
  });
}
