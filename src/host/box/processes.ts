import { readFileSync } from "node:fs";

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};

/** Child processes of `pid`, in the caller's numbering. */
export function children(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
}

/** `pid` and everything below it; a process whose parents are gone is not found this way. */
export function descendants(pid: number): number[] {
  const found = [pid];
  for (let index = 0; index < found.length; index++) found.push(...children(found[index] as number));
  return found;
}

/** Sends a signal; a process that is gone already is no error. */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone between listing and sending.
  }
}

export const isAlive = (pid: number): boolean => {
  const stat = read(`/proc/${pid}/stat`);
  // A zombie has ended; only its parent has not looked yet.
  return stat !== "" && stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
};
