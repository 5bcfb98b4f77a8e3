import type { FastifyInstance, FastifyRequest } from "fastify";
import type { App } from "../apps.ts";
import type { Control } from "../control.ts";
import { invalidParams, notFound } from "../errors.ts";
import type { Dyno } from "../formation/formation.ts";
import { sendList } from "./lists.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf, callerOf } from "./server.ts";

/** A terminal whose size nobody told, and the largest that is taken. */
const COLUMNS = 80;
const LINES = 24;
const LARGEST_WINDOW = 1000;
/** A one-off's own variables: names and values together, in bytes. */
const ENV_LIMIT = 64 * 1024;
const LONGEST_LIFE = 86_400;

const CREATE = {
  type: "object",
  required: ["command"],
  properties: {
    command: { type: "string" },
    attach: { type: ["boolean", "null"] },
    env: { type: ["object", "null"], additionalProperties: { type: ["string", "number", "boolean"] } },
    exit_status: { type: ["boolean", "null"] },
    force_no_tty: { type: ["boolean", "null"] },
    size: { type: ["string", "null"], maxLength: 64 },
    time_to_live: { type: ["integer", "null"], minimum: 1, maximum: LONGEST_LIFE },
    type: { type: ["string", "null"], pattern: "^[A-Za-z0-9_-]{1,128}$" },
  },
};
interface CreateBody {
  command: string;
  attach?: boolean | null;
  env?: Record<string, string | number | boolean> | null;
  /** Sluice's own: see OneOff.exitStatus. */
  exit_status?: boolean | null;
  force_no_tty?: boolean | null;
  size?: string | null;
  time_to_live?: number | null;
  type?: string | null;
}
const RESIZE = {
  type: "object",
  required: ["columns", "lines"],
  properties: {
    columns: { type: "integer", minimum: 1, maximum: LARGEST_WINDOW },
    lines: { type: "integer", minimum: 1, maximum: LARGEST_WINDOW },
  },
};

/** A one-off's variables as text. @throws ApiError 422 */
function readEnv(sent: CreateBody["env"]): Record<string, string> {
  const entries = Object.entries(sent ?? {}).map(([name, value]) => [name, String(value)] as const);
  let bytes = 0;
  for (const [name, value] of entries) {
    if (!/^\w+$/.test(name) || value.includes("\0")) {
      throw invalidParams(`${JSON.stringify(name.slice(0, 80))} cannot be set for a dyno.`);
    }
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (bytes > ENV_LIMIT) throw invalidParams(`env may have at most ${ENV_LIMIT} bytes, names and values.`);
  return Object.fromEntries(entries);
}

/** COLUMNS or LINES of the client's terminal. */
function windowSize(text: string | undefined, fallback: number): number {
  const size = Number(text);
  return Number.isInteger(size) && size >= 1 && size <= LARGEST_WINDOW ? size : fallback;
}

/** Dynos of an app (Platform API reference, "Dyno"): list, run, restart, stop. */
export function register(server: FastifyInstance, control: Control): void {
  const view = (dyno: Dyno, app: App, request: FastifyRequest) => ({
    app: { id: app.id, name: app.name },
    attach_url: dyno.attachUrl && reachedBy(dyno.attachUrl, request),
    command: dyno.command,
    created_at: time(dyno.createdAt),
    id: dyno.id,
    name: dyno.name,
    release: { id: dyno.releaseId, version: dyno.releaseVersion },
    size: dyno.size,
    state: dyno.state,
    type: dyno.type,
    updated_at: time(dyno.updatedAt),
  });
  /** The rendezvous is on the machine that the API was reached by. */
  const reachedBy = (url: string, request: FastifyRequest): string => {
    const { hostname } = calledBy(request, control.config);
    return url.replace(/^(rendezvous:\/\/)(\[[^\]]*\]|[^:/]*)/, (_all, scheme: string) => scheme + hostname);
  };
  const nameIn = (request: FastifyRequest): string => (request.params as { dyno: string }).dyno;

  server.get("/apps/:app/dynos", async (request, reply) => {
    const app = await appOf(control, request);
    const items = (await control.formation.dynos(app.id)).map((dyno) => view(dyno, app, request));
    return sendList(request, reply, items, ["name", "id", "created_at"]);
  });

  server.get("/apps/:app/dynos/:dyno", async (request) => {
    const app = await appOf(control, request);
    const wanted = nameIn(request);
    const dyno = (await control.formation.dynos(app.id)).find(
      ({ id, name }) => id === wanted || name === wanted,
    );
    if (!dyno) throw notFound("dyno");
    return view(dyno, app, request);
  });

  server.post("/apps/:app/dynos", { schema: { body: CREATE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const body = request.body as CreateBody;
    const env = readEnv(body.env);
    const dyno = await control.formation.run(app.id, callerOf(request), {
      command: body.command,
      attach: body.attach ?? false,
      env,
      size: body.size ?? undefined,
      type: body.type ?? undefined,
      terminal: !body.force_no_tty,
      columns: windowSize(env.COLUMNS, COLUMNS),
      lines: windowSize(env.LINES, LINES),
      timeToLive: body.time_to_live ?? 0,
      exitStatus: body.exit_status ?? false,
    });
    return reply.code(201).send(view(dyno, app, request));
  });

  server.patch("/apps/:app/dynos/:dyno", { schema: { body: RESIZE } }, async (request, reply) => {
    const app = await appOf(control, request);
    const { columns, lines } = request.body as { columns: number; lines: number };
    await control.formation.resize(app.id, nameIn(request), columns, lines);
    return reply.code(202).send({});
  });

  server.delete("/apps/:app/dynos", async (request, reply) => {
    const app = await appOf(control, request);
    await control.formation.restart(app.id);
    return reply.code(202).send({});
  });

  server.delete("/apps/:app/dynos/:dyno", async (request, reply) => {
    const app = await appOf(control, request);
    await control.formation.restart(app.id, { dyno: nameIn(request) });
    return reply.code(202).send({});
  });

  server.post("/apps/:app/dynos/:dyno/actions/stop", async (request, reply) => {
    const app = await appOf(control, request);
    await control.formation.stop(app.id, { dyno: nameIn(request) });
    return reply.code(202).send({});
  });
}
