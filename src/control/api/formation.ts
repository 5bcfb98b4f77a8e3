import type { FastifyInstance, FastifyRequest } from "fastify";
import { DYNO_SIZES } from "../../config/environment.ts";
import type { App } from "../apps.ts";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import type { FormationType, FormationUpdate } from "../formation/formation.ts";
import { sendList } from "./lists.ts";
import { time } from "./protocol.ts";
import { appOf, callerOf } from "./server.ts";

/** An update as it is sent: the size as `size`, or as `dyno_size` by name or id. */
interface SentUpdate {
  type: string;
  quantity?: number | string | null;
  size?: string | null;
  dyno_size?: string | { name?: string; id?: string } | null;
}
const UPDATE = {
  quantity: { type: ["integer", "string", "null"], maxLength: 20 },
  size: { type: ["string", "null"], maxLength: 64 },
  dyno_size: {
    type: ["string", "object", "null"],
    properties: { name: { type: "string" }, id: { type: "string" } },
  },
};
const ONE = { type: "object", properties: UPDATE };
const BATCH = {
  type: "object",
  required: ["updates"],
  properties: {
    updates: {
      type: "array",
      minItems: 1,
      maxItems: 200,
      items: {
        type: "object",
        required: ["type"],
        properties: { ...UPDATE, type: { type: "string", minLength: 1, maxLength: 128 } },
      },
    },
  },
};

/** The size's name that an update gives; an id of GET /dyno-sizes counts too. */
function sizeOf({ size, dyno_size }: SentUpdate): string | undefined {
  const given = size ?? dyno_size;
  if (given === null || given === undefined) return undefined;
  const text = typeof given === "string" ? given : (given.name ?? given.id ?? "");
  const byId = [...DYNO_SIZES.values()].find(({ name }) => fixedId("dyno-size", name) === text);
  return byId?.name ?? text;
}

const readUpdate = (sent: SentUpdate): FormationUpdate => ({
  type: sent.type,
  quantity: sent.quantity ?? undefined,
  size: sizeOf(sent),
});

/** The formation of an app (Platform API reference, "Formation"): what each process type shall have. */
export function register(server: FastifyInstance, control: Control): void {
  const view = (row: FormationType, app: App) => ({
    app: { id: app.id, name: app.name },
    command: row.command,
    created_at: time(row.createdAt),
    dyno_size: { id: fixedId("dyno-size", row.size), name: row.size },
    id: row.id,
    quantity: row.quantity,
    size: row.size,
    type: row.type,
    updated_at: time(row.updatedAt),
  });
  const typeIn = (request: FastifyRequest): string => (request.params as { type: string }).type;
  const find = async (app: App, type: string) => {
    const row = (await control.formation.types(app.id)).find((one) => one.type === type || one.id === type);
    if (!row) throw notFound(`process type (${type.slice(0, 128)})`);
    return row;
  };

  server.get("/apps/:app/formation", async (request, reply) => {
    const app = await appOf(control, request);
    const items = (await control.formation.types(app.id)).map((row) => view(row, app));
    return sendList(request, reply, items, ["type", "id"]);
  });

  server.get("/apps/:app/formation/:type", async (request) => {
    const app = await appOf(control, request);
    return view(await find(app, typeIn(request)), app);
  });

  server.patch("/apps/:app/formation", { schema: { body: BATCH } }, async (request) => {
    const app = await appOf(control, request);
    const { updates } = request.body as { updates: SentUpdate[] };
    await control.formation.scale(app.id, callerOf(request), updates.map(readUpdate));
    const asked = new Set(updates.map(({ type }) => type));
    const rows = await control.formation.types(app.id);
    return rows.filter(({ type }) => asked.has(type)).map((row) => view(row, app));
  });

  server.patch("/apps/:app/formation/:type", { schema: { body: ONE } }, async (request) => {
    const app = await appOf(control, request);
    const { type } = await find(app, typeIn(request));
    const update = readUpdate({ ...(request.body as Omit<SentUpdate, "type">), type });
    await control.formation.scale(app.id, callerOf(request), [update]);
    return view(await find(app, type), app);
  });

  server.delete("/apps/:app/formations/:type", async (request, reply) => {
    const app = await appOf(control, request);
    const { type } = await find(app, typeIn(request));
    await control.formation.restart(app.id, { type });
    return reply.code(202).send({});
  });

  server.post("/apps/:app/formations/:type/actions/stop", async (request, reply) => {
    const app = await appOf(control, request);
    const { type } = await find(app, typeIn(request));
    await control.formation.stop(app.id, { type });
    return reply.code(202).send({});
  });
}
