import type { FastifyInstance } from "fastify";
import { SHIPPED } from "../builds/buildpacks.ts";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { calledBy } from "./origin.ts";

/**
 * The look-up that Heroku's command does before it sets a buildpack by name
 * (HEROKU_BUILDPACK_REGISTRY_URL): the blob's URL is what it then sets, and stands for the name.
 */
export function register(server: FastifyInstance, control: Control): void {
  server.get("/buildpacks/:name", { config: { open: true } }, async (request) => {
    const { name } = request.params as { name: string };
    const read = /^(?:heroku|sluice)\/([a-z0-9-]+)$/.exec(name);
    if (!read || !(SHIPPED as readonly string[]).includes(read[1]!)) throw notFound("buildpack");
    return {
      name,
      blob_url: `${calledBy(request, control.config).origin}/buildpacks/${encodeURIComponent(name)}.tgz`,
    };
  });
}
