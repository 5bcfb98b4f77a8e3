import { execFile } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { resolvConf } from "./resolver.ts";

const run = promisify(execFile);

/** What a box sees of the machine's /etc: nothing that names users, keys or the operator's set-up. */
const ETC = [
  "alternatives",
  "bash.bashrc",
  "ca-certificates",
  "ca-certificates.conf",
  "debian_version",
  "ethertypes",
  "fonts",
  "gai.conf",
  "host.conf",
  "inputrc",
  "java-17-openjdk",
  "java-21-openjdk",
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "locale.alias",
  "localtime",
  "magic",
  "magic.mime",
  "mailcap",
  "mime.types",
  "netconfig",
  "nsswitch.conf",
  "os-release",
  "perl",
  "protocols",
  "rpc",
  "services",
  "shells",
  "ssl/certs",
  "ssl/openssl.cnf",
  "terminfo",
  "timezone",
];

/** Device nodes of a box: name, major, minor. */
const DEVICES = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0],
] as const;

/** Names of the device nodes, for machines where they must be bound one by one. */
export const DEVICE_NAMES: readonly string[] = DEVICES.map(([name]) => name);

/**
 * Makes the lowest layer of every box's root in `folder`: merged /bin and /lib links, /etc, empty mount points
 * and (as root) device nodes. It is never changed once boxes stand on it; each start of the host makes its own.
 * @param stackDir a root file system in place of the machine's.
 * @returns nodes: whether its device nodes work; where not, the machine's are bound over them.
 */
export async function makeRoot(folder: string, stackDir: string | null): Promise<{ nodes: boolean }> {
  const source = stackDir ?? "/";
  for (const name of [
    "app",
    "dev/pts",
    "dev/shm",
    // Buildpacks copy the machine's package sources from here; a build has them in sources.list.
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/ssl",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "var/tmp",
  ]) {
    mkdirSync(path.join(folder, name), { recursive: true, mode: 0o755 });
  }
  chmodSync(folder, 0o755);
  for (const name of ["tmp", "var/tmp"]) chmodSync(path.join(folder, name), 0o1777);
  chmodSync(path.join(folder, "root"), 0o700);
  for (const name of ["bin", "sbin", "lib", "lib64", "lib32", "libx32"]) {
    const stat = await lstat(path.join(source, name)).catch(() => null);
    if (!stat?.isSymbolicLink()) continue;
    const target = await readlink(path.join(source, name));
    symlinkSync(path.isAbsolute(target) ? target.slice(1) : target, path.join(folder, name));
  }
  const etc = ETC.filter((name) => existsSync(path.join(source, "etc", name)));
  if (etc.length) {
    await run("cp", ["-a", "--parents", ...etc, `${path.resolve(folder)}/etc/`], {
      cwd: path.join(source, "etc"),
    });
  }
  writeFileSync(path.join(folder, "etc/resolv.conf"), resolvConf());
  symlinkSync("/proc/mounts", path.join(folder, "etc/mtab"));
  for (const [name, target] of [
    ["fd", "/proc/self/fd"],
    ["stdin", "/proc/self/fd/0"],
    ["stdout", "/proc/self/fd/1"],
    ["stderr", "/proc/self/fd/2"],
    ["ptmx", "pts/ptmx"],
  ] as const) {
    symlinkSync(target, path.join(folder, "dev", name));
  }
  let nodes = process.getuid?.() === 0;
  for (const [name, major, minor] of DEVICES) {
    const node = path.join(folder, "dev", name);
    try {
      if (!nodes) throw new Error("not root");
      await run("mknod", ["-m", "666", node, "c", String(major), String(minor)]);
      // A file system mounted with nodev makes the node but does not open it.
      closeSync(openSync(node, name === "tty" ? "r" : "r+"));
    } catch (error) {
      if (nodes && name === "tty" && (error as NodeJS.ErrnoException).code === "ENXIO") continue;
      nodes = false;
      rmSync(node, { force: true });
      writeFileSync(node, "");
    }
  }
  return { nodes };
}

/** /etc/passwd and /etc/group of a box: root, the app's user and nobody. */
export function accounts(uid: number, gid: number): { passwd: string; group: string } {
  return {
    passwd:
      "root:x:0:0:root:/root:/bin/bash\n" +
      `app:x:${uid}:${gid}:app:/app:/bin/bash\n` +
      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    group: `root:x:0:\ntty:x:5:\napp:x:${gid}:\nnogroup:x:65534:\n`,
  };
}
