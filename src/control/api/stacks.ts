import type { FastifyInstance } from "fastify";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import { machineStack, STACKS } from "../stacks.ts";
import { sendList } from "./lists.ts";

const SINCE = "2026-01-01T00:00:00Z";

export function register(server: FastifyInstance, _control: Control): void {
  const stacks = STACKS.map((name) => ({
    created_at: SINCE,
    default: name === machineStack(),
    id: fixedId("stack", name),
    name,
    state: "public",
    updated_at: SINCE,
  }));
  server.get("/stacks", (request, reply) => sendList(request, reply, stacks, ["name", "id"]));
  server.get<{ Params: { stack: string } }>("/stacks/:stack", async (request) => {
    const { stack } = request.params;
    const found = stacks.find(({ id, name }) => id === stack || name === stack);
    if (!found) throw notFound("stack");
    return found;
  });
}
