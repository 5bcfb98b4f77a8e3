import type { AppRoute, AppState, RouteDyno } from "../../wire/routes.ts";
import { featureOn } from "../features.ts";
import type { AppFormation, DynoRow } from "./rows.ts";

/** Seconds that a request waits for a starting dyno before H20 (contract, section 1). */
const BOOT_WAIT_SECONDS = 75;

/** Web dynos that requests may go to, or would if they were up. */
const takesRequests = (dyno: DynoRow): boolean =>
  dyno.kind === "formation" && dyno.type === "web" && (dyno.phase === "serving" || dyno.phase === "replaced");

const isWeb = (dyno: DynoRow): boolean =>
  dyno.kind === "formation" && dyno.type === "web" && dyno.phase !== "draining" && dyno.phase !== "stopping";

/** What the edges shall do for an app, made from its rows and (for its page URLs) its config vars. */
export function routeOf(formation: AppFormation, config: Readonly<Record<string, string>>): AppRoute {
  const { app, current, wanted } = formation;
  const dynos = formation.dynos
    .filter(takesRequests)
    .flatMap(({ id, name, state, address, port }): RouteDyno[] =>
      state === "up" && address !== null && port !== null ? [{ id, name, address, port }] : [],
    );
  const quantity = current?.processTypes.web === undefined ? 0 : (wanted.get("web")?.quantity ?? 0);
  return {
    kind: "app",
    app: app.id,
    name: app.name,
    hosts: formation.hosts,
    state: stateOf(formation, quantity, dynos.length),
    dynos,
    quantity,
    bootSeconds: BOOT_WAIT_SECONDS,
    errorPage: config.ERROR_PAGE_URL || null,
    maintenancePage: config.MAINTENANCE_PAGE_URL || null,
    affinity: featureOn(app, "http-session-affinity"),
    keepAlive: !featureOn(app, "http-disable-keepalive-to-dyno"),
  };
}

function stateOf({ app, current, dynos }: AppFormation, quantity: number, up: number): AppState {
  if (app.maintenance) return "maintenance";
  if (!current?.slugId) return "blank";
  if (up > 0) return "up";
  if (quantity === 0) return "none";
  const web = dynos.filter(isWeb);
  if (web.some(({ state }) => state === "idle")) return "idle";
  return web.length > 0 && web.every(({ state }) => state === "crashed") ? "crashed" : "starting";
}
