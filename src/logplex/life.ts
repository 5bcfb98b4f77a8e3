import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** Counts the starts in `file`: returns this start's number, higher than every earlier one. */
export function nextLife(file: string): number {
  let last = 0;
  try {
    last = Number.parseInt(readFileSync(file, "utf8"), 10) || 0;
  } catch {
    // The first start here.
  }
  writeFileSync(`${file}~`, `${last + 1}\n`, { mode: 0o600 });
  renameSync(`${file}~`, file);
  return last + 1;
}
