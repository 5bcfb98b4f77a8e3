// Which Sluices run from this checkout: each leaves a file dist/.running/<pid> that holds its start time, so
// that setup never changes code under one. Plain JavaScript: it works before anything is installed.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const folder = path.join(checkout, "dist", ".running");

/**
 * Start time of a process in clock ticks since boot; null when there is none by that id (a zombie counts as
 * none). With the id it names one process for good: ids are used again, the pair is not.
 * @param {number} pid
 * @returns {string | null}
 */
export function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold anything, brackets too: count fields after the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/**
 * Says that this process runs from the checkout, until the function that comes back is called.
 * @returns {() => void}
 */
export function markRunning() {
  const file = path.join(folder, String(process.pid));
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, startTime(process.pid) ?? "");
  } catch {
    // A checkout that this user cannot write to cannot be set up by this user either.
  }
  return () => rmSync(file, { force: true });
}

/**
 * Process ids of the Sluices that run from this checkout; marks of dead ones are cleared away.
 * @returns {number[]}
 */
export function running() {
  /** @type {string[]} */
  let names = [];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.map(Number).filter((pid) => {
    const file = path.join(folder, String(pid));
    try {
      const alive = startTime(pid);
      if (alive !== null && alive === readFileSync(file, "utf8")) return true;
      rmSync(file, { force: true });
    } catch {
      // Gone meanwhile, or another user's.
    }
    return false;
  });
}
