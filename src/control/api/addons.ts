import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Control } from "../control.ts";
import { ApiError, notFound } from "../errors.ts";
import { sendList } from "./lists.ts";
import { appOf } from "./server.ts";

/** No add-on service is installed yet: the lists are there, for clients that read them, and are empty. */
export function register(server: FastifyInstance, control: Control): void {
  const none = (request: FastifyRequest, reply: FastifyReply) =>
    sendList(request, reply, [] as { id: string; name: string }[], ["id", "name"]);
  for (const path of ["/addons", "/addon-attachments", "/addon-services", "/plans"]) server.get(path, none);
  for (const path of ["/apps/:app/addons", "/apps/:app/addon-attachments"]) {
    server.get(path, async (request, reply) => {
      await appOf(control, request);
      return none(request, reply);
    });
  }
  for (const [path, what] of [
    ["/addons/:addon", "add-on"],
    ["/apps/:app/addons/:addon", "add-on"],
    ["/addon-attachments/:attachment", "add-on attachment"],
    ["/apps/:app/addon-attachments/:attachment", "add-on attachment"],
    ["/addon-services/:service", "add-on service"],
    ["/plans/:plan", "plan"],
  ] as const) {
    server.get(path, async () => {
      throw notFound(what);
    });
  }
  server.post<{ Body: { plan: string | { name?: string } } }>("/apps/:app/addons", async (request) => {
    await appOf(control, request);
    throw new ApiError(
      422,
      "invalid_params",
      "No add-on service is installed on this Sluice; set the service's URL as a config var instead.",
    );
  });
  server.post("/actions/addons/resolve", async () => {
    throw notFound("add-on");
  });
  server.post("/actions/addon-attachments/resolve", async () => {
    throw notFound("add-on attachment");
  });
}
