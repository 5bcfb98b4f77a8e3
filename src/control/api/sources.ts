import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { isUuid } from "../apps.ts";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { calledBy } from "./origin.ts";
import { appOf, rawBodies } from "./server.ts";

/** Sources (Platform API reference, "Source"): a URL to put a .tar.gz to, and the one to build it from. */
export function register(server: FastifyInstance, control: Control): void {
  const { sources } = control.builds;
  const create = async (base: string): Promise<object> => {
    const { putPath, getPath } = await sources.create();
    return { source_blob: { get_url: `${base}${getPath}`, put_url: `${base}${putPath}` } };
  };
  server.post("/sources", async (request, reply) =>
    reply.code(201).send(await create(calledBy(request, control.config).origin)),
  );
  server.post("/apps/:app/sources", async (request, reply) => {
    await appOf(control, request);
    return reply.code(201).send(await create(calledBy(request, control.config).origin));
  });

  server.register(async (scope) => {
    rawBodies(scope);
    const options = { config: { open: true } };
    const params = (request: { params: unknown }): { id: string; token: string } => {
      const given = request.params as { id: string; token: string };
      if (!isUuid(given.id)) throw notFound("source");
      return given;
    };
    scope.put("/sources/:id/:token", options, async (request, reply) => {
      const { id, token } = params(request);
      await sources.put(id, token, request.body as Readable);
      return reply.code(200).send();
    });
    scope.get("/sources/:id/:token", options, async (request, reply) => {
      const { id, token } = params(request);
      const file = await sources.get(id, token);
      return reply
        .type("application/gzip")
        .header("Content-Length", (await stat(file)).size)
        .send(createReadStream(file));
    });
  });
}
