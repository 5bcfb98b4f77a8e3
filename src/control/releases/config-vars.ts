import { invalidParams } from "../errors.ts";

/** Names and values of an app's config vars together, in bytes (contract, section 6). */
export const CONFIG_LIMIT = 64 * 1024;

export type ConfigVars = Record<string, string>;
/** Values to set, or (null) names to remove. */
export type ConfigChange = Record<string, string | null>;

/**
 * Reads a change as a client sent it.
 * @throws ApiError 422 naming the first var that cannot be
 */
export function readConfigChange(body: unknown): ConfigChange {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalidParams('Send the config vars as an object: {"NAME": "value"}, null to remove one.');
  }
  for (const [name, value] of Object.entries(body)) {
    if (!/^\w+$/.test(name)) {
      throw invalidParams(
        `${JSON.stringify(name.slice(0, 80))} cannot be the name of a config var; use letters, digits and _.`,
      );
    }
    if (value === null) continue;
    if (typeof value !== "string") {
      throw invalidParams(`The value of ${name} is no string; put it in quotes, or send null to remove it.`);
    }
    if (value.includes("\0"))
      throw invalidParams(`The value of ${name} holds a NUL, which no environment can carry.`);
  }
  return body as ConfigChange;
}

/**
 * The config vars after a change, and which names it touched; setting a var to what it is, or removing one that
 * is not there, touches nothing.
 * @throws ApiError 422 when they would be larger than CONFIG_LIMIT
 */
export function changeConfig(
  now: Readonly<ConfigVars>,
  change: Readonly<ConfigChange>,
): { next: ConfigVars; set: string[]; removed: string[] } {
  const next = new Map(Object.entries(now));
  const set: string[] = [];
  const removed: string[] = [];
  for (const [name, value] of Object.entries(change)) {
    if (value === null) {
      if (next.delete(name)) removed.push(name);
    } else if (next.get(name) !== value) {
      next.set(name, value);
      set.push(name);
    }
  }
  if (set.length > 0) checkSize(next);
  return { next: Object.fromEntries(next), set, removed };
}

function checkSize(vars: ReadonlyMap<string, string>): void {
  let bytes = 0;
  for (const [name, value] of vars) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  if (bytes <= CONFIG_LIMIT) return;
  throw invalidParams(
    `The config vars would take ${bytes} bytes; all names and values together may have at most ${CONFIG_LIMIT}. Keep large values in a file or a database.`,
  );
}

/** `Set A, B config vars`, `Remove A config vars`, as the release says it. */
export function describeConfigChange(set: readonly string[], removed: readonly string[]): string {
  const parts: string[] = [];
  if (set.length > 0) parts.push(`Set ${set.join(", ")}`);
  if (removed.length > 0) parts.push(`Remove ${removed.join(", ")}`);
  return `${parts.join(", ")} config vars`;
}
