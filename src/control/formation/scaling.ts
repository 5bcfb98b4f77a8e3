import { DYNO_SIZES } from "../../config/environment.ts";
import { ApiError, invalidParams } from "../errors.ts";
import type { Queryable } from "../store/store.ts";
import type { FormationUpdate } from "./formation.ts";
import { RELEASE_TYPE } from "./plan.ts";
import type { AppFormation } from "./rows.ts";

/** Heroku's spelling of a dyno size given in any case. @throws ApiError 422 naming the sizes. */
export function sizeName(size: string): string {
  const known = DYNO_SIZES.get(size.toLowerCase());
  if (known) return known.name;
  const names = [...DYNO_SIZES.values()].map(({ name }) => name).join(", ");
  throw invalidParams(`There is no dyno size ${JSON.stringify(size.slice(0, 40))}; use one of ${names}.`);
}

/**
 * The quantity asked for: a count, or relative as `"+1"` and `"-1"`.
 * @throws ApiError 422 when it is neither.
 */
export function quantityOf(asked: number | string, now: number): number {
  const text = String(asked).trim();
  const relative = typeof asked === "string" && /^[+-]/.test(text);
  if (!/^[+-]?\d{1,15}$/.test(text) || (!relative && text.startsWith("-"))) {
    throw invalidParams(
      `The quantity ${JSON.stringify(asked)} is no number of dynos; give a whole number from 0 up, or +1 or -1.`,
    );
  }
  return relative ? Math.max(0, now + Number(text)) : Number(text);
}

/**
 * Applies updates to the formation's rows within `tx`, all of them or none; `dynosPerApp` bounds their sum.
 * @throws ApiError 404 for a process type that the app does not have, 422 for what it cannot be.
 */
export async function applyUpdates(
  tx: Queryable,
  { app, current, wanted }: AppFormation,
  updates: readonly FormationUpdate[],
  dynosPerApp: number,
): Promise<void> {
  const types = current?.processTypes ?? {};
  const next = new Map([...wanted].filter(([type]) => Object.hasOwn(types, type)));
  for (const { type, quantity, size } of updates) {
    const row = next.get(type);
    if (!row) {
      const known = Object.keys(types).sort().join(", ") || "none; push an app first";
      throw new ApiError(
        404,
        "not_found",
        `Couldn't find that process type (${type.slice(0, 128)}). This app has: ${known}.`,
      );
    }
    const count = quantity === undefined ? row.quantity : quantityOf(quantity, row.quantity);
    if (type === RELEASE_TYPE && count > 0) {
      throw invalidParams("The release process type runs once a release; it cannot be scaled.");
    }
    next.set(type, { type, quantity: count, size: size === undefined ? row.size : sizeName(size) });
  }
  const total = [...next.values()].reduce((sum, { quantity }) => sum + quantity, 0);
  if (total > dynosPerApp) {
    throw invalidParams(
      `This would be ${total} dynos; an app can have at most ${dynosPerApp} over all its process types (SLUICE_APP_DYNOS).`,
    );
  }
  for (const [type, { quantity, size }] of next) {
    const before = wanted.get(type)!;
    if (before.quantity === quantity && before.size === size) continue;
    await tx.query(
      "UPDATE formation SET quantity = $3, size = $4, updated_at = now() WHERE app_id = $1 AND type = $2",
      [app.id, type, quantity, size],
    );
    if (size === "Eco" && before.size !== size) {
      // Eco dynos sleep (design, section 12).
      await tx.query(`UPDATE apps SET features = features || '{"sleep": true}' WHERE id = $1`, [app.id]);
    }
    const retried = type === "web" && before.size !== size && current?.trouble;
    // Another size may be what the dynos that did not come up lacked.
    if (retried) await tx.query("UPDATE releases SET trouble = NULL WHERE id = $1", [current.id]);
  }
}
