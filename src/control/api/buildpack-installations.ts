import type { FastifyInstance } from "fastify";
import { lockApp } from "../apps.ts";
import { showBuildpack } from "../builds/buildpacks.ts";
import type { Control } from "../control.ts";
import { invalidParams } from "../errors.ts";
import type { Queryable } from "../store/store.ts";
import { sendList } from "./lists.ts";
import { appOf } from "./server.ts";

/** Buildpacks that an app may have, one after the other. */
const INSTALLATIONS_LIMIT = 20;

const UPDATE = {
  type: "object",
  required: ["updates"],
  properties: {
    updates: {
      type: "array",
      maxItems: INSTALLATIONS_LIMIT,
      items: { type: "object", required: ["buildpack"], properties: { buildpack: { type: "string" } } },
    },
  },
};

interface Installation {
  ordinal: number;
  buildpack: { name: string; url: string };
}

/** Buildpacks of an app, in order (Platform API reference, "Buildpack Installation"). */
export function register(server: FastifyInstance, control: Control): void {
  const list = async (store: Queryable, appId: string): Promise<Installation[]> => {
    const { rows } = await store.query<{ ordinal: number; name: string; url: string }>(
      "SELECT ordinal, name, url FROM buildpack_installations WHERE app_id = $1 ORDER BY ordinal",
      [appId],
    );
    return rows.map(({ ordinal, name, url }) => ({ ordinal, buildpack: { name, url } }));
  };

  server.get("/apps/:app/buildpack-installations", async (request, reply) => {
    const app = await appOf(control, request);
    return sendList(request, reply, await list(control.store.pool, app.id), ["ordinal"]);
  });

  server.put("/apps/:app/buildpack-installations", { schema: { body: UPDATE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const { updates } = request.body as { updates: { buildpack: string }[] };
    const shown = updates.map(({ buildpack }) => showBuildpack(buildpack, control.config.buildpackPath));
    if (new Set(shown.map(({ url }) => url)).size < shown.length) {
      throw invalidParams("A buildpack stands twice in the list; name each once.");
    }
    await control.store.transaction(async (tx) => {
      await lockApp(tx, app.id);
      await tx.query("DELETE FROM buildpack_installations WHERE app_id = $1", [app.id]);
      for (const [ordinal, { name, url }] of shown.entries()) {
        await tx.query(
          "INSERT INTO buildpack_installations (app_id, ordinal, name, url) VALUES ($1, $2, $3, $4)",
          [app.id, ordinal, name, url],
        );
      }
    });
    return sendList(request, reply, await list(control.store.pool, app.id), ["ordinal"]);
  });
}
