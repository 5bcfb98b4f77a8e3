import type { FastifyInstance } from "fastify";
import type { App } from "../apps.ts";
import type { Control } from "../control.ts";
import { ApiError, notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

const PERMISSIONS = ["deploy", "manage", "operate", "view"].map((name) => ({ name, description: "" }));

/** The owner is an app's one collaborator until there are more accounts. */
const owner = (app: App) => ({
  app: { id: app.id, name: app.name },
  created_at: time(app.createdAt),
  id: fixedId("collaborator", `${app.id}:${app.ownerId}`),
  permissions: PERMISSIONS,
  role: "owner",
  updated_at: time(app.createdAt),
  user: { email: app.ownerEmail, federated: false, id: app.ownerId },
});

export function register(server: FastifyInstance, control: Control): void {
  server.get("/apps/:app/collaborators", async (request, reply) =>
    sendList(request, reply, [owner(await appOf(control, request))], ["id"]),
  );

  server.get<{ Params: { user: string } }>("/apps/:app/collaborators/:user", async (request) => {
    const app = await appOf(control, request);
    const { user } = request.params;
    if (user !== app.ownerEmail && user !== app.ownerId) throw notFound("collaborator");
    return owner(app);
  });

  server.post("/apps/:app/collaborators", async (request) => {
    await appOf(control, request);
    throw new ApiError(
      422,
      "invalid_params",
      "This Sluice has one account, its owner's; make further API keys with POST /oauth/authorizations.",
    );
  });

  server.delete<{ Params: { user: string } }>("/apps/:app/collaborators/:user", async (request) => {
    const app = await appOf(control, request);
    const { user } = request.params;
    if (user !== app.ownerEmail && user !== app.ownerId) throw notFound("collaborator");
    throw new ApiError(422, "invalid_params", "The owner cannot be removed from the app.");
  });
}
