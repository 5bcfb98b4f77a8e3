import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * Removes a tree that other programs made. Without root a folder that its maker closed (an overlay's work
 * folder, a read-only cache) is opened first.
 * @throws Error of the file system when something of it stays.
 */
export async function removeTree(folder: string): Promise<void> {
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: 3 });
  try {
    await remove();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    await run("chmod", ["-R", "u+rwX", "--", folder]);
    await remove();
  }
}
