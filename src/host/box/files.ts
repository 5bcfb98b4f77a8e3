import { chmodSync, chownSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Confinement, dropWords, enterWords } from "./confinement.ts";
import type { Network, Slot } from "./network.ts";
import { accounts, DEVICE_NAMES } from "./root.ts";
import { BoxError, type BoxSpec } from "./spec.ts";

/** Open files of a box, as on Heroku. */
const OPEN_FILES = 10_000;

/** What all boxes of this life of the host stand on. */
export interface Ground {
  /** The host's folder; names in overlays are relative to it. */
  folder: string;
  /** Name of the root's template in it. */
  root: string;
  /** The template's device nodes work. */
  nodes: boolean;
  /** A root file system in place of the machine's. */
  stackDir: string | null;
  confinement: Confinement;
  network: Network | null;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The script that the box's own user runs: environment, folder, command. */
function runScript(spec: BoxSpec): string {
  const lines = [
    "exec 9<&-",
    "echo 0 2>/dev/null >/proc/self/oom_score_adj",
    `ulimit -c 0; ulimit -n ${OPEN_FILES} 2>/dev/null`,
  ];
  const odd: string[] = [];
  for (const [name, value] of Object.entries(spec.env)) {
    if (name.includes("\0") || value.includes("\0")) continue;
    // A shell cannot export a name that is none of its own; env can.
    if (IDENTIFIER.test(name)) lines.push(`export ${name}=${quote(value)}`);
    else if (!name.includes("=")) odd.push(quote(`${name}=${value}`));
  }
  if (!("OLDPWD" in spec.env)) lines.push("unset OLDPWD");
  lines.push(`cd ${quote(spec.cwd)} || exit 125`);
  const env = odd.length ? `env ${odd.join(" ")} ` : "";
  lines.push(`exec ${env}${spec.argv.map(quote).join(" ")}`);
  return `${lines.join("\n")}\n`;
}

const escapeMount = (text: string): string =>
  text.replace(/[\\ \t\n#]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`);

/**
 * Writes everything that launcher.sh reads into the box's folder, whose FIFOs are there.
 * @param groups folders of its cgroups.
 * @throws BoxError when the spec cannot be met.
 */
export function writeFiles(
  ground: Ground,
  folder: string,
  spec: BoxSpec,
  slot: Slot | null,
  groups: string[],
): void {
  const { confinement, network } = ground;
  const terminal = typeof spec.stdio === "object" && !Array.isArray(spec.stdio);
  const upper = path.join(folder, "upper");
  for (const name of ["root", "work", "upper", "upper/app", "upper/etc"]) {
    mkdirSync(path.join(folder, name), { mode: 0o755 });
  }
  const names = accounts(spec.uid, spec.gid);
  writeFileSync(path.join(upper, "etc/passwd"), names.passwd);
  writeFileSync(path.join(upper, "etc/group"), names.group);
  writeFileSync(path.join(upper, "etc/hostname"), `${spec.hostname}\n`);
  const machine = slot && network ? network.gateway : "127.0.0.1";
  const self = slot ? slot.address : "127.0.1.1";
  writeFileSync(
    path.join(upper, "etc/hosts"),
    `127.0.0.1 localhost\n::1 localhost ip6-localhost\n${self} ${spec.hostname}\n${machine} machine.sluice\n`,
  );
  if (slot && network?.resolver)
    writeFileSync(path.join(upper, "etc/resolv.conf"), `nameserver ${network.gateway}\n`);
  const run = path.join(folder, "run");
  writeFileSync(run, runScript(spec), { mode: 0o400 });
  if (confinement === "root") {
    chownSync(path.join(upper, "app"), spec.uid, spec.gid);
    chownSync(run, spec.uid, spec.gid);
  }
  writeFileSync(path.join(folder, "fstab"), mounts(ground, folder, spec));
  const file = slot && network ? network.file(slot) : null;
  const variables: Record<string, string> = {
    groups: groups.join(" "),
    enter: enterWords(confinement, file, spec.network === "none"),
    drop: dropWords(confinement, spec.uid, spec.gid, terminal),
    output: spec.stdio === "fifo" ? "fifo" : "own",
    name: spec.hostname,
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${quote(value)}`);
  writeFileSync(path.join(folder, "launch"), `${lines.join("\n")}\n`);
}

/** The mounts of a box, in order, as `mount -a` reads them; paths of the overlay are relative to the host's folder. */
function mounts(ground: Ground, folder: string, spec: BoxSpec): string {
  const root = path.join(folder, "root");
  const upper = path.join(folder, "upper");
  const relative = path.relative(ground.folder, folder);
  const lowers = [ground.root];
  if (spec.lower) {
    if (!existsSync(path.join(spec.lower, "app")))
      throw new BoxError(`There is no folder ${spec.lower}/app.`);
    const lower = path.relative(ground.folder, spec.lower);
    // Names below the host's folder are ours; any other may hold a character that ends the option.
    if (/[,:\\]/.test(lower)) throw new BoxError(`A lower layer cannot lie at ${spec.lower}.`);
    lowers.unshift(lower);
  }
  const rights = ground.confinement === "root" ? "redirect_dir=on,volatile" : "userxattr,volatile";
  const overlay = `lowerdir=${lowers.join(":")},upperdir=${relative}/upper,workdir=${relative}/work,${rights}`;
  const entry = (source: string, target: string, type: string, options: string): string =>
    `${escapeMount(source)} ${escapeMount(path.join(root, target))} ${type} ${options} 0 0`;
  const bind = (source: string, target: string, writable: boolean): string =>
    entry(source, target, "none", writable ? "bind,nosuid,nodev" : "bind,ro,nosuid,nodev");
  const lines = [
    entry("box", "/", "overlay", overlay),
    entry(path.join(ground.stackDir ?? "/", "usr"), "/usr", "none", "bind,ro"),
    entry("proc", "/proc", "proc", "nosuid,nodev,noexec"),
    entry("devpts", "/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
    entry("shm", "/dev/shm", "tmpfs", "nosuid,nodev,mode=1777,size=64m"),
  ];
  if (!ground.nodes) {
    for (const name of DEVICE_NAMES) lines.push(entry(`/dev/${name}`, `/dev/${name}`, "none", "bind"));
  }
  for (const mount of spec.mounts) {
    const target = path.posix.normalize(mount.target);
    if (!target.startsWith("/") || target.includes("/.."))
      throw new BoxError(`A mount cannot go to ${mount.target}.`);
    const stat = statSync(mount.source, { throwIfNoEntry: false });
    if (!stat) throw new BoxError(`There is nothing at ${mount.source} to mount.`);
    const point = path.join(upper, target);
    mkdirSync(stat.isDirectory() ? point : path.dirname(point), { recursive: true, mode: 0o755 });
    if (!stat.isDirectory()) writeFileSync(point, "", { flag: "a" });
    // Folders that must stay writable for all where a mount lies below them.
    for (const name of ["tmp", "var/tmp"]) {
      if (existsSync(path.join(upper, name))) chmodSync(path.join(upper, name), 0o1777);
    }
    lines.push(bind(mount.source, target, mount.writable));
  }
  return `${lines.join("\n")}\n`;
}
