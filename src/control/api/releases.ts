import { timingSafeEqual } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { sha256 } from "../accounts.ts";
import { type App, isUuid } from "../apps.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import type { Release } from "../releases/releases.ts";
import { sendOutput, startOf } from "./builds.ts";
import { sendList } from "./lists.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf, callerOf } from "./server.ts";

/** Characters of a commit that a description shows. */
const SHORT_COMMIT = 8;

const CREATE = {
  type: "object",
  properties: {
    slug: { type: "string", maxLength: 64 },
    release: { type: ["string", "integer"], maxLength: 64 },
    description: { type: ["string", "null"], maxLength: 1024 },
  },
};
interface CreateBody {
  slug?: string;
  release?: string | number;
  description?: string | null;
}

/** Releases of an app (Platform API reference, "Release"), their config vars, and their commands' output. */
export function register(server: FastifyInstance, control: Control): void {
  const view = (release: Release, app: App, current: Release | null, request: FastifyRequest) => {
    const { id, slugId, status, outputToken, userId, userEmail } = release;
    const { origin } = calledBy(request, control.config);
    return {
      addon_plan_names: release.addonPlanNames,
      app: { id: app.id, name: app.name },
      artifacts: slugId ? [{ type: "slug", id: slugId }] : [],
      created_at: time(release.createdAt),
      current: id === current?.id,
      description: release.description,
      eligible_for_rollback: status === "succeeded" && slugId !== null,
      id,
      output_stream_url: outputToken ? `${origin}/releases/${id}/output/${outputToken}` : null,
      slug: slugId ? { id: slugId } : null,
      status,
      // Sluice's own: why its web dynos do not serve, when they did not come up.
      trouble: release.trouble,
      updated_at: time(release.updatedAt),
      user: { id: userId, email: userEmail },
      version: release.version,
    };
  };
  const find = (app: App, request: FastifyRequest): Promise<Release> =>
    control.releases.find(app.id, (request.params as { release: string }).release);

  server.get("/apps/:app/releases", async (request, reply) => {
    const app = await appOf(control, request);
    const [list, current] = await Promise.all([
      control.releases.list(app.id),
      control.releases.current(app.id),
    ]);
    const items = list.map((release) => view(release, app, current, request));
    return sendList(request, reply, items, ["version", "id", "created_at"]);
  });

  server.get("/apps/:app/releases/:release", async (request) => {
    const app = await appOf(control, request);
    return view(await find(app, request), app, await control.releases.current(app.id), request);
  });

  server.get("/apps/:app/releases/:release/config-vars", async (request) => {
    const app = await appOf(control, request);
    return control.releases.config(await find(app, request));
  });

  server.post("/apps/:app/releases", { schema: { body: CREATE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const { slug, release, description } = request.body as CreateBody;
    const actor = callerOf(request);
    if ((slug === undefined) === (release === undefined)) {
      throw invalidParams('Send either "slug", to deploy it, or "release", to roll back to it.');
    }
    let made: Release;
    if (release !== undefined) {
      const { version } = await control.releases.find(app.id, String(release));
      const words = description || `Rollback to v${version}`;
      made = await control.releases.create(app.id, actor, words, { rollbackTo: version });
    } else {
      if (!isUuid(slug!)) throw notFound("slug");
      const words = description || (await describeSlug(control, app.id, slug!));
      made = await control.releases.create(app.id, actor, words, { slugId: slug });
    }
    return reply.code(201).send(view(made, app, await control.releases.current(app.id), request));
  });

  server.get("/releases/:release/output/:token", { config: { open: true } }, async (request, reply) => {
    const { release, token } = request.params as { release: string; token: string };
    if (!isUuid(release)) throw notFound("release output");
    const { rows } = await control.store.pool.query<{ output_token: string | null }>(
      "SELECT output_token FROM releases WHERE id = $1",
      [release],
    );
    const known = rows[0]?.output_token;
    if (!known || !timingSafeEqual(sha256(token), sha256(known))) throw notFound("release output");
    const from = startOf(request);
    const output = await control.releases.output(release, from);
    if (!output) throw notFound("release output");
    sendOutput(request, reply, output, from);
    return reply;
  });
}

/** `Deploy 1a2b3c4d`, or `Deploy` for a slug that names no commit. @throws ApiError 404 */
async function describeSlug(control: Control, appId: string, slugId: string): Promise<string> {
  const { rows } = await control.store.pool.query<{ commit: string | null }>(
    "SELECT commit FROM slugs WHERE app_id = $1 AND id = $2",
    [appId, slugId],
  );
  if (!rows[0]) throw notFound("slug");
  const commit = rows[0].commit?.slice(0, SHORT_COMMIT);
  return commit ? `Deploy ${commit}` : "Deploy";
}
