import { linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startTime } from "./checkout.ts";
import { StartError } from "./start-error.ts";

/** Looking at a stale lock and replacing it takes far less than this; an older guard is a killed one's. */
const GUARD_MS = 10_000;

/**
 * Takes the home for this process alone, until the function that comes back is called. The lock of a process
 * that is gone (kill -9, power cut) is taken over: it holds the process id and its start time.
 * @throws StartError when another Sluice runs on this home.
 */
export function lockHome(home: string): () => void {
  const lock = path.join(home, "lock");
  const own = path.join(home, `lock.${process.pid}`);
  const guard = path.join(home, "lock.guard");
  writeFileSync(own, `${process.pid} ${startTime(process.pid)}`, { mode: 0o600 });
  try {
    // A link appears whole or not at all, and never replaces what is there.
    if (linkIfFree(own, lock)) return () => rmSync(lock, { force: true });
    takeGuard(guard, home);
    try {
      const holder = aliveHolder(lock);
      if (holder !== null) throw runsAlready(home, holder);
      rmSync(lock, { force: true });
      if (!linkIfFree(own, lock)) throw runsAlready(home, aliveHolder(lock));
      return () => rmSync(lock, { force: true });
    } finally {
      rmSync(guard, { recursive: true, force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
}

const runsAlready = (home: string, pid: number | null): StartError =>
  new StartError(
    `Sluice already runs on ${home}${pid === null ? "" : ` (process ${pid})`}: stop that one first, or name another folder by SLUICE_HOME.`,
  );

function linkIfFree(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Two starts at once must not both find the old lock stale and each remove the other's new one. */
function takeGuard(guard: string, home: string): void {
  try {
    mkdirSync(guard);
  } catch {
    const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age < GUARD_MS) throw runsAlready(home, null);
    rmSync(guard, { recursive: true, force: true });
    mkdirSync(guard);
  }
}

function aliveHolder(lock: string): number | null {
  let text: string;
  try {
    text = readFileSync(lock, "utf8");
  } catch {
    return null;
  }
  const [pid, started] = text.split(" ");
  return started && startTime(Number(pid)) === started ? Number(pid) : null;
}
