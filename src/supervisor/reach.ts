import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import path from "node:path";
import { StartError } from "./start-error.ts";

/** What of a checkout the parts read while they run; nothing else of it is shown to their users. */
const CODE_FOLDERS = ["dist", "node_modules", "src", "buildpacks", "bin"];

/** True when every user may walk to `folder` (a home or a clone below /root is not so). */
export function reachableByAll(folder: string): boolean {
  for (let at = path.dirname(realpathSync(folder)); ; at = path.dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === "/") return true;
  }
}

/**
 * Makes a home that the parts' users cannot walk to reachable: bound to `<sockets>/home`. Needs root.
 * @throws StartError when mounting is not allowed here.
 */
export function bindHome(home: string, sockets: string): string {
  const target = path.join(sockets, "home");
  mkdirSync(target, { recursive: true, mode: 0o711 });
  mountOnce(
    home,
    target,
    `SLUICE_HOME (${home}) cannot be reached by Sluice's own users`,
    "name a folder that all users can walk to, such as /var/lib/sluice",
  );
  return target;
}

/**
 * The same for the code: what the parts read is bound below `<sockets>/code`, read-only for its modes. Needs root.
 * @throws StartError when mounting is not allowed here.
 */
export function bindCode(checkout: string, sockets: string): string {
  const code = path.join(sockets, "code");
  mkdirSync(code, { recursive: true, mode: 0o711 });
  copyFileSync(path.join(checkout, "package.json"), path.join(code, "package.json"));
  for (const name of CODE_FOLDERS) {
    const from = path.join(checkout, name);
    if (!existsSync(from)) continue;
    const target = path.join(code, name);
    mkdirSync(target, { recursive: true });
    mountOnce(
      realpathSync(from),
      target,
      `The checkout (${checkout}) cannot be reached by Sluice's own users`,
      "move it to a folder that all users can walk to, such as /opt/sluice",
    );
  }
  return code;
}

/** Takes away what `bindHome` and `bindCode` mounted, also what an earlier, killed supervisor did. */
export function unbind(sockets: string): void {
  const mounted = mountsBelow(sockets);
  for (const target of mounted.reverse()) run("umount", ["--lazy", target]);
  if (mountsBelow(sockets).length > 0) return;
  rmSync(path.join(sockets, "code", "package.json"), { force: true });
  for (const name of [...CODE_FOLDERS.map((folder) => `code/${folder}`), "code", "home"]) {
    try {
      // Never recursive: a mount that did not go away must not be emptied.
      rmdirSync(path.join(sockets, name));
    } catch {
      // Not there.
    }
  }
}

/** Takes the folder of sockets away at the end; a mount that did not go away keeps it. */
export function removeSocketFolder(sockets: string): void {
  if (mountsBelow(sockets).length === 0) rmSync(sockets, { recursive: true, force: true });
}

function mountOnce(from: string, target: string, trouble: string, advice: string): void {
  if (mountsBelow(target).length > 0) run("umount", ["--lazy", target]);
  const { status, stderr } = run("mount", ["--bind", from, target]);
  if (status !== 0)
    throw new StartError(`${trouble}, and it cannot be bind-mounted here (${stderr.trim()}): ${advice}.`);
}

function run(command: string, args: string[]): { status: number | null; stderr: string } {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` },
  });
  return { status, stderr: error?.message ?? stderr };
}

/** Mount points at or below `folder`, in the order they were made. */
function mountsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target === folder || target.startsWith(`${folder}/`));
}
