import type { FastifyInstance } from "fastify";
import { type App, lockApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { FEATURES, type Feature, featureOn } from "../features.ts";
import { fixedId } from "../fixed-ids.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

const shown = (app: App, feature: Feature) => ({
  created_at: time(app.createdAt),
  description: feature.description,
  display_name: feature.name,
  doc_url: null,
  enabled: featureOn(app, feature.name),
  feedback_email: null,
  id: fixedId("feature", feature.name),
  name: feature.name,
  state: feature.state,
  updated_at: time(app.updatedAt),
});

/** @throws ApiError 404 */
function findFeature(nameOrId: string): Feature {
  const feature = FEATURES.find(({ name }) => name === nameOrId || fixedId("feature", name) === nameOrId);
  if (!feature) throw notFound("app feature");
  return feature;
}

export function register(server: FastifyInstance, control: Control): void {
  server.get("/apps/:app/features", async (request, reply) => {
    const app = await appOf(control, request);
    return sendList(
      request,
      reply,
      FEATURES.map((feature) => shown(app, feature)),
      ["name", "id"],
    );
  });

  server.get<{ Params: { feature: string } }>("/apps/:app/features/:feature", async (request) =>
    shown(await appOf(control, request), findFeature(request.params.feature)),
  );

  server.patch<{ Params: { feature: string }; Body: { enabled: boolean } }>(
    "/apps/:app/features/:feature",
    {
      schema: {
        body: { type: "object", required: ["enabled"], properties: { enabled: { type: "boolean" } } },
      },
    },
    async (request) => {
      const feature = findFeature(request.params.feature);
      const app = await appOf(control, request);
      await control.store.transaction(async (tx) => {
        await lockApp(tx, app.id);
        await tx.query(
          `UPDATE apps SET features = features || jsonb_build_object($2::text, $3::boolean), updated_at = now()
           WHERE id = $1`,
          [app.id, feature.name, request.body.enabled],
        );
      });
      await control.formation.publishRoute(app.id);
      return shown(await appOf(control, request), feature);
    },
  );
}
