import { existsSync } from "node:fs";
import path from "node:path";
import type { DynoOrder } from "../wire/orders.ts";

/** Heroku's base PATH (contract, section 4). */
const BASE_PATH = "/usr/local/bin:/usr/bin:/bin";
/** One bash sources the profiles, then becomes the one that runs the command; exported functions pass through. */
const WITH_PROFILES =
  'for profile in /app/.profile.d/*.sh; do [ -r "$profile" ] && . "$profile"; done; unset profile; ' +
  '[ -r /app/.profile ] && . /app/.profile; exec bash -c "$1"';

/** Words of a dyno's command, run in the slug at `lower` as Heroku runs it. */
export function commandWords(command: string, lower: string | null): string[] {
  const has = (name: string): boolean => lower !== null && existsSync(path.join(lower, "app", name));
  if (!has(".profile.d") && !has(".profile")) return ["bash", "-c", command];
  return ["bash", "-c", WITH_PROFILES, "bash", command];
}

/** Environment of a dyno: Heroku's own names, then the order's, which may set PATH but not PORT and DYNO. */
export function dynoEnvironment(order: DynoOrder, port: number): Record<string, string> {
  return {
    PATH: BASE_PATH,
    HOME: "/app",
    ...(order.attach?.terminal ? { TERM: "xterm-256color" } : {}),
    ...order.env,
    ...(order.type === "web" || order.listens || order.kind === "release" ? { PORT: String(port) } : {}),
    DYNO: order.name,
  };
}
