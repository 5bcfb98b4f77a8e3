import type { FastifyInstance } from "fastify";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import { sendList } from "./lists.ts";

/** This installation is the only region. `us` is what Heroku's CLI takes as the usual one. */
export const REGION = { id: fixedId("region", "us"), name: "us" };

const SINCE = "2026-01-01T00:00:00Z";

export function register(server: FastifyInstance, _control: Control): void {
  const region = {
    country: "self-hosted",
    created_at: SINCE,
    description: "The machines of this Sluice",
    id: REGION.id,
    locale: "here",
    name: REGION.name,
    private_capable: false,
    provider: { name: "sluice", region: "sluice" },
    updated_at: SINCE,
  };
  server.get("/regions", (request, reply) => sendList(request, reply, [region], ["name", "id"]));
  server.get<{ Params: { region: string } }>("/regions/:region", async (request) => {
    if (request.params.region !== region.id && request.params.region !== region.name)
      throw notFound("region");
    return region;
  });
}
