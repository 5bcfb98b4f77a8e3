import { spawnSync } from "node:child_process";

/**
 * What this machine and user allow: `root` (namespaces and another user id), `user` (the same inside a user
 * namespace, where every box's files are ours), `none` (neither: nothing can be run).
 */
export type Confinement = "root" | "user" | "none";

const NAMESPACES = ["--mount", "--pid", "--ipc", "--uts", "--fork"];
const works = (...args: string[]): boolean =>
  spawnSync("unshare", [...args, "--", "true"], { stdio: "ignore", timeout: 5000 }).status === 0;

/** Finds the strongest confinement by trying it. */
export function findConfinement(): Confinement {
  if (process.getuid?.() === 0 && works(...NAMESPACES)) return "root";
  if (works("--user", "--map-root-user", ...NAMESPACES)) return "user";
  return "none";
}

/** Words of the launcher that enter a box's namespaces; `namespace` is the path of its network's, or `none`. */
export function enterWords(confinement: Confinement, namespace: string | null, noNetwork: boolean): string {
  const own = confinement === "user" ? ["--user", "--map-root-user"] : ["--cgroup"];
  const net = noNetwork ? ["--net"] : [];
  const enter = namespace ? `nsenter --net=${namespace} -- ` : "";
  return `${enter}unshare ${[...own, ...net, ...NAMESPACES].join(" ")} --`;
}

/** Words of the launcher that give up every right before the command runs. */
export function dropWords(confinement: Confinement, uid: number, gid: number, terminal: boolean): string {
  // Its own session on a terminal, so that a shell finds itself leading the foreground.
  const session = terminal ? "setsid -c " : "";
  const caps = "--no-new-privs --inh-caps=-all --bounding-set=-all";
  if (confinement === "root") {
    return `${session}setpriv --reuid=${uid} --regid=${gid} --clear-groups ${caps} --`;
  }
  return `${session}unshare --user --map-user=${uid} --map-group=${gid} -- setpriv ${caps} --`;
}
