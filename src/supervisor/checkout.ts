import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Folder of the checkout (or image) that this code was compiled in: dist/src/supervisor is three below it. */
export const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");

interface Running {
  /** Start time of a process, which with its id names it for good; null when there is none. */
  startTime(pid: number): string | null;
  /** Keeps set-up from changing this checkout under this process, until the function that comes back is called. */
  markRunning(): () => void;
}

// Set-up has to run before anything is compiled, so what it shares with the supervisor is plain JavaScript.
export const { startTime, markRunning } = (await import(
  pathToFileURL(path.join(checkout, "bin", "running.js")).href
)) as Running;
