import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  symlinkSync,
} from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { readConfig } from "../../src/config/environment.ts";
import { layoutOf } from "../../src/config/layout.ts";
import { Boxes } from "../../src/host/box/boxes.ts";
import { commandWords } from "../../src/host/command.ts";

/** What every Debian has that a launcher, a shell's profile scripts and a plain command need. */
const PROGRAMS =
  "bash sh env cat ls id sed cut grep sort head tail mkdir rm cp mv sleep uname dirname basename readlink expr tr mount umount setpriv prlimit unshare pivot_root hostname nsenter ip seq".split(
    " ",
  );
/** Shared libraries of the smallest Debian that a runtime may count on. */
const LIBRARIES = ["libstdc++.so.6", "libgcc_s.so.1"];

const FOLDERS = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/**
 * A stack without any language runtime (no Node, Python or Perl), and boxes that stand on it: what runs there
 * has its runtime from the slug.
 */
export class BareStack {
  readonly #boxes: Boxes;
  #serial = 0;

  private constructor(boxes: Boxes) {
    this.#boxes = boxes;
  }

  /** @param folder made by the caller, removed by the caller. */
  static async open(folder: string): Promise<BareStack> {
    const stack = path.join(folder, "stack");
    makeStack(stack);
    const env = { SLUICE_HOME: folder, SLUICE_STACK_DIR: stack, SLUICE_DYNO_NETWORK: "host" };
    const layout = layoutOf(folder, env);
    mkdirSync(layout.host, { recursive: true });
    const { boxes } = await Boxes.open(readConfig(env), layout);
    return new BareStack(boxes);
  }

  /** Runs a command as a dyno does, with the slug unpacked in `lower`/app; what it printed and its status. */
  async run(
    lower: string | null,
    uid: number,
    command: string,
    env: Record<string, string> = {},
  ): Promise<{ status: number; output: string }> {
    const box = await this.#boxes.start({
      id: `bare-${this.#serial++}`,
      uid,
      gid: uid,
      lower,
      mounts: [],
      env: { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/app", PORT: "5000", DYNO: "web.1", ...env },
      cwd: "/app",
      argv: commandWords(command, lower),
      stdio: ["null", "pipe", "pipe"],
      limits: { memoryBytes: 512 * 1024 * 1024, processes: 256, cpuShares: 1 },
      network: "none",
      hostname: "bare",
    });
    const printed = Promise.all(
      [box.pipes.stdout, box.pipes.stderr].map((stream) => (stream ? text(stream) : "")),
    );
    const { status, fault } = await box.exited;
    // Its first process holds the streams open until it is told to go.
    await box.kill();
    const output = (await printed).join("");
    await box.free();
    if (fault) throw new Error(fault);
    return { status, output };
  }

  close(): Promise<void> {
    return this.#boxes.close();
  }
}

function makeStack(stack: string): void {
  mkdirSync(path.join(stack, "usr/bin"), { recursive: true });
  for (const name of ["bin", "sbin"]) symlinkSync("usr/bin", path.join(stack, name));
  symlinkSync("bin", path.join(stack, "usr/sbin"));
  for (const name of ["lib", "lib64"]) {
    if (existsSync(`/${name}`)) symlinkSync(`usr/${name}`, path.join(stack, name));
  }
  const programs = PROGRAMS.flatMap(
    (name) => FOLDERS.map((folder) => path.join(folder, name)).find(existsSync) ?? [],
  );
  const copy = (from: string, to: string): void => {
    const target = path.join(stack, to.startsWith("/usr/") ? to : `usr${to}`);
    if (existsSync(target)) return;
    mkdirSync(path.dirname(target), { recursive: true });
    copyFileSync(realpathSync(from), target);
    chmodSync(target, 0o755);
  };
  for (const program of programs) copy(program, `/usr/bin/${path.basename(program)}`);
  const linked = execFileSync("ldd", programs, { encoding: "utf8" });
  const libraries = new Set([...linked.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map((found) => found[1]!));
  const folder = realpathSync(path.dirname([...libraries].find((file) => file.includes("/libc.so"))!));
  for (const name of [
    ...LIBRARIES,
    ...readdirSync(folder).filter((file) =>
      /^lib(c|m|dl|rt|pthread|util|nss_\w+|resolv)\.so\.\d$/.test(file),
    ),
  ])
    libraries.add(path.join(folder, name));
  for (const library of libraries) if (existsSync(library)) copy(library, library);
}
