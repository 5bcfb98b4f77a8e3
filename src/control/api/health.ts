import type { FastifyInstance } from "fastify";
import type { Control } from "../control.ts";
import type { Store } from "../store/store.ts";

/** A store that does not answer in this time is down. */
const STORE_MS = 1000;

/** Which parts serve, seen from control: the links say who is connected, the store answers a query. */
export async function partsUp(control: Control): Promise<Record<string, boolean>> {
  const { edge, host, logplex } = control.links.connected();
  return {
    edge: edge > 0,
    logplex: logplex > 0,
    control: true,
    host: host > 0,
    store: await storeUp(control.store),
  };
}

/** The question under way for each store: however many ask, a store that hangs holds one connection. */
const asked = new WeakMap<Store, Promise<boolean>>();

async function storeUp(store: Store): Promise<boolean> {
  let answer = asked.get(store);
  if (!answer) {
    answer = store.pool
      .query("SELECT 1")
      .then(
        () => true,
        () => false,
      )
      .finally(() => asked.delete(store));
    asked.set(store, answer);
  }
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), STORE_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function register(server: FastifyInstance, control: Control): void {
  server.get("/health", { config: { open: true } }, async (_request, reply) => {
    const up = await partsUp(control);
    const parts = Object.fromEntries(Object.entries(up).map(([part, is]) => [part, is ? "up" : "down"]));
    const whole = Object.values(up).every(Boolean);
    reply.header("Cache-Control", "no-store");
    return reply.code(whole ? 200 : 503).send({ status: whole ? "up" : "degraded", parts });
  });
}
