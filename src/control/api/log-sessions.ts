import type { FastifyInstance } from "fastify";
import { SESSION_PATH } from "../../wire/log-settings.ts";
import type { Control } from "../control.ts";
import { invalidParams } from "../errors.ts";
import { calledBy } from "./origin.ts";
import { time } from "./protocol.ts";
import { appOf } from "./server.ts";

const DEFAULT_LINES = 100;
const MOST_LINES = 1500;
/** `web`, `web.1`, `run.1234` */
const PROCESS = /^[A-Za-z0-9_-]{1,64}(\.\d{1,10})?$/;

interface SessionBody {
  lines?: number | null;
  tail?: boolean | null;
  source?: string | null;
  /** Heroku's CLI: a dyno, or a process type. */
  dyno?: string | null;
  /** The published schema's names of the same. */
  dyno_name?: string | null;
  type?: string | null;
}

const text = { type: ["string", "null"] };
const BODY = {
  type: ["object", "null"],
  properties: {
    lines: { type: ["integer", "null"] },
    tail: { type: ["boolean", "null"] },
    source: text,
    dyno: text,
    dyno_name: text,
    type: text,
  },
};

export function register(server: FastifyInstance, control: Control): void {
  server.post<{ Body?: SessionBody | null }>(
    "/apps/:app/log-sessions",
    { schema: { body: BODY } },
    async (request, reply) => {
      const app = await appOf(control, request);
      const body = request.body ?? {};
      const lines = body.lines ?? DEFAULT_LINES;
      if (lines < 0) throw invalidParams(`lines is ${lines}; it must be from 0 to ${MOST_LINES}.`);
      const dyno = body.dyno || body.dyno_name || body.type || null;
      if (dyno && !PROCESS.test(dyno)) {
        throw invalidParams(`"${dyno}" is no dyno; write one like web.1, or a process type like web.`);
      }
      const session = await control.logSettings.openSession(app.id, {
        tail: body.tail ?? false,
        lines: Math.min(lines, MOST_LINES),
        source: body.source || null,
        dyno,
      });
      const { hostname } = calledBy(request, control.config);
      return reply.code(201).send({
        created_at: time(session.createdAt),
        id: session.id,
        logplex_url: `http://${hostname}:${control.config.logplex.httpPort}${SESSION_PATH}${session.token}`,
        updated_at: time(session.createdAt),
      });
    },
  );
}
