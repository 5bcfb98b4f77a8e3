import type { FastifyInstance } from "fastify";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Control } from "../control.ts";
import { partsUp } from "./health.ts";

/** `GET /metrics`, in Prometheus' text format: control's own process, its API, the store and the parts. */
export function register(server: FastifyInstance, control: Control): void {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const requests = new Histogram({
    name: "sluice_api_request_seconds",
    help: "Time of API requests, by method, route and status.",
    labelNames: ["method", "route", "status"] as const,
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    registers,
  });
  const limited = new Counter({
    name: "sluice_api_rate_limited_total",
    help: "API requests refused by the rate limit.",
    registers,
  });
  new Gauge({
    name: "sluice_part_up",
    help: "1 for each part that serves.",
    labelNames: ["part"] as const,
    registers,
    async collect() {
      for (const [part, up] of Object.entries(await partsUp(control))) this.set({ part }, up ? 1 : 0);
    },
  });
  new Gauge({
    name: "sluice_store_connections",
    help: "Connections to the store, by what they do.",
    labelNames: ["state"] as const,
    registers,
    collect() {
      const { totalCount, idleCount, waitingCount } = control.store.pool;
      this.set({ state: "busy" }, totalCount - idleCount);
      this.set({ state: "idle" }, idleCount);
      this.set({ state: "awaited" }, waitingCount);
    },
  });
  const rows = (name: string, help: string, from: string) =>
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        try {
          const { rows } = await control.store.pool.query<{ n: number }>(`SELECT count(*) AS n FROM ${from}`);
          this.set(rows[0]!.n);
        } catch {
          this.reset();
        }
      },
    });
  rows("sluice_apps", "Apps.", "apps");
  rows("sluice_dynos", "Dynos that shall run.", "dynos");
  rows("sluice_builds_pending", "Builds under way.", "builds WHERE status = 'pending'");

  server.addHook("onResponse", async (request, reply) => {
    const { method, routeOptions } = request;
    const labels = { method, route: routeOptions.url ?? "unknown", status: String(reply.statusCode) };
    requests.observe(labels, reply.elapsedTime / 1000);
    if (reply.statusCode === 429) limited.inc();
  });
  server.get("/metrics", { config: { plain: true } }, async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
}
