import { readFileSync } from "node:fs";

/** The system users that the parts run as when Sluice is started by root (design section 4). */
export type PartUser = "sluice" | "sluice-edge" | "sluice-logplex" | "root";

export interface UserIds {
  uid: number;
  gid: number;
}

/** uid and gid of a system user from /etc/passwd; null when there is none by that name. */
export function lookUpUser(name: string): UserIds | null {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const fields = line.split(":");
    if (fields[0] === name) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  return null;
}

/** True when this process may become another user, so parts are kept apart by user. */
export const canDropPrivilege = (): boolean => process.getuid?.() === 0;

/**
 * Gives up root for `user`, for good: groups, gid, uid. Does nothing without root, or for root itself.
 * Call it after code is loaded and ports are bound: the checkout may not be readable afterwards.
 * @throws Error when the user is not there.
 */
export function dropPrivilege(user: PartUser): void {
  if (!canDropPrivilege() || user === "root") return;
  const ids = lookUpUser(user);
  if (!ids)
    throw new Error(`There is no system user ${user}; start Sluice with \`sluice up\`, which makes it.`);
  process.setgroups?.([ids.gid]);
  process.setgid?.(ids.gid);
  process.setuid?.(ids.uid);
}
