import { execFile } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import type { Config } from "../../config/environment.ts";
import type { Layout } from "../../config/layout.ts";
import { removeTree } from "../removal.ts";
import { Box, spawnLauncher } from "./box.ts";
import { Cgroups } from "./cgroups.ts";
import { type Confinement, findConfinement } from "./confinement.ts";
import { type Ground, writeFiles } from "./files.ts";
import { Network, type Slot } from "./network.ts";
import { makeRoot } from "./root.ts";
import { BoxError, type BoxSpec } from "./spec.ts";

const exec = promisify(execFile);

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** A root's template and its launcher, in the host's folder. */
const ROOT = /^root\.\d+(\.sh)?$/;
/** Folders with FIFOs made ahead: mkfifo is a program, and a start shall not wait for it. */
const BLANKS = 4;
/** Those that were taken are made up for after this. */
const REFILL_MS = 200;
const FIFOS = ["life", "ack", "out", "err"];
/** The launcher as it lies in the sources, seen from dist/src/host/box. */
const LAUNCHER = fileURLToPath(new URL("../../../../src/host/box/launcher.sh", import.meta.url));
/** Without them there is no /app of a dyno's own, which slugs are built for. */
const NO_NAMESPACES =
  "this user may make no namespaces here; start Sluice as root (in a container with the rights that the README names), or allow them to users (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns).";
/** Ended processes leave their cgroup within this time, or never. */
const GROUP_END_MS = 10_000;

/** What is written down of a box for the next life of the host. */
interface BoxRecord {
  id: string;
  address: string | null;
  slot: Slot | null;
  /** The slot is the box's own and goes with it. */
  ownSlot: boolean;
}

/**
 * Starts boxes, and finds those that an earlier life of the host has left. Each has a folder
 * `<host>/boxes/<id>`: FIFOs, the launcher's files, the upper layer of its root.
 */
export class Boxes {
  readonly confinement: Confinement;
  readonly cgroups: Cgroups;
  /** The boxes' own network; null: they share the machine's. */
  network: Network | null = null;
  /** What is missing of a box's walls on this machine, one sentence each. */
  readonly notes: string[] = [];
  #layout: Layout;
  #stackDir: string | null;
  #folder: string;
  #root = "";
  #nodes = false;
  #launcher = "";
  #blanks: string[] = [];
  #blanking: Promise<void> | null = null;
  #serial = 0;
  #closed = false;
  #live = new Map<string, { box: Box; record: BoxRecord }>();
  #removals = new Set<Promise<void>>();

  private constructor(config: Config, layout: Layout) {
    this.#layout = layout;
    this.#stackDir = config.stackDir;
    this.#folder = path.join(layout.host, "boxes");
    this.confinement = findConfinement();
    this.cgroups = new Cgroups(layout.mark);
  }

  /**
   * Prepares this machine: root template, cgroups, network; frees what boxes without a living process left.
   * Boxes that live are in `survivors` afterwards; the caller takes or kills each.
   */
  static async open(config: Config, layout: Layout): Promise<{ boxes: Boxes; survivors: Box[] }> {
    closeInherited();
    const boxes = new Boxes(config, layout);
    mkdirSync(boxes.#folder, { recursive: true, mode: 0o700 });
    const survivors = await boxes.#adopt();
    await boxes.#prepareRoot();
    await boxes.#openNetwork(config);
    boxes.#note();
    await boxes.#blank();
    return { boxes, survivors };
  }

  #note(): void {
    if (this.confinement === "user") {
      this.notes.push(
        "Boxes run in user namespaces of this user: apps are not kept apart by user id (start as root for that).",
      );
    } else if (this.confinement === "none") {
      this.notes.push(`Apps can be neither built nor run: ${NO_NAMESPACES}`);
    }
    if (this.cgroups.missing.length) {
      this.notes.push(
        `Boxes have no limit of ${this.cgroups.missing.join(", ")}: those cgroups cannot be used here.`,
      );
    }
  }

  async #prepareRoot(): Promise<void> {
    const inUse = new Set<string>();
    for (const { box } of this.#live.values()) {
      const root = /lowerdir=[^, ]*?(root\.\d+)/.exec(readText(path.join(box.folder, "fstab")))?.[1];
      if (root) inUse.add(root).add(`${root}.sh`);
    }
    for (const name of readdirSync(this.#layout.host)) {
      if (ROOT.test(name) && !inUse.has(name)) this.#remove(path.join(this.#layout.host, name));
    }
    let name: string;
    do name = `root.${Date.now() + this.#serial++}`;
    while (existsSync(path.join(this.#layout.host, name)));
    this.#root = name;
    const { nodes } = await makeRoot(path.join(this.#layout.host, name), this.#stackDir);
    this.#nodes = nodes;
    // A copy: an update of the checkout must not change a script that shells are reading.
    // The name is relative: processes of the box see the first one's command line.
    this.#launcher = `${name}.sh`;
    copyFileSync(LAUNCHER, path.join(this.#layout.host, this.#launcher));
  }

  async #openNetwork(config: Config): Promise<void> {
    if (config.dynoNetwork === "host") {
      this.notes.push(
        "Boxes share this machine's network (SLUICE_DYNO_NETWORK=host): they reach its ports and each other's.",
      );
      return;
    }
    if (this.confinement !== "root") {
      this.notes.push("Boxes share this machine's network: a network of their own needs root.");
      return;
    }
    try {
      const keep = [...this.#live.values()].flatMap(({ record }) => (record.slot ? [record.slot] : []));
      this.network = await Network.open(this.#layout.mark, config.dynoNet, config.dynoAllow, keep);
    } catch (error) {
      const why =
        (error as NodeJS.ErrnoException).code === "ENOENT"
          ? "ip or iptables is not installed"
          : (error as Error).message;
      this.notes.push(`Boxes share this machine's network: ${why}.`);
    }
  }

  #refill(): void {
    if (!this.#closed && this.#blanks.length < BLANKS) void this.#blank().catch(() => {});
  }

  /** Makes folders with FIFOs ahead. */
  #blank(): Promise<void> {
    this.#blanking ??= (async () => {
      const folders = Array.from({ length: BLANKS }, () =>
        path.join(this.#folder, `.blank-${process.pid}-${this.#serial++}`),
      );
      for (const folder of folders) mkdirSync(folder, { mode: 0o700 });
      await exec("mkfifo", [
        "-m",
        "600",
        ...folders.flatMap((folder) => FIFOS.map((name) => path.join(folder, name))),
      ]);
      this.#blanks.push(...folders);
    })().finally(() => {
      this.#blanking = null;
    });
    return this.#blanking;
  }

  /**
   * Starts a box.
   * @throws BoxError when the spec cannot be met (a name taken, a folder that is not there, no address left).
   */
  async start(spec: BoxSpec): Promise<Box> {
    if (!ID.test(spec.id)) throw new BoxError(`A box cannot be named "${spec.id}".`);
    if (this.#closed) throw new BoxError("The host is stopping.");
    if (this.confinement === "none") throw new BoxError(NO_NAMESPACES);
    if (!spec.argv.length) throw new BoxError("A box needs a command.");
    const folder = path.join(this.#folder, spec.id);
    if (this.#live.has(spec.id) || existsSync(folder))
      throw new BoxError(`There is a box ${spec.id} already.`);
    const slot =
      typeof spec.network === "object"
        ? spec.network
        : spec.network === "own" && this.network
          ? await this.network.take()
          : null;
    const ownSlot = slot !== null && typeof spec.network === "string";
    try {
      while (!this.#blanks.length) await this.#blank();
      renameSync(this.#blanks.pop() as string, folder);
      // Later: the start under way shall not wait for it.
      if (this.#blanks.length < BLANKS / 2) setTimeout(() => this.#refill(), REFILL_MS).unref();
      const record: BoxRecord = {
        id: spec.id,
        address: slot?.address ?? null,
        slot,
        ownSlot,
      };
      const groups = this.cgroups.create(spec.id, spec.limits);
      // After the groups, whose making would wait for it; long before the launcher joins them.
      this.cgroups.ready();
      writeFiles(this.#ground(), folder, spec, slot, groups);
      writeFileSync(path.join(folder, "box.json"), JSON.stringify(record));
      return this.#launch(folder, spec, record);
    } catch (error) {
      if (slot && ownSlot) this.network?.give(slot);
      this.cgroups.remove(spec.id);
      this.#remove(folder);
      if (error instanceof BoxError) throw error;
      throw new BoxError(`Box ${spec.id} cannot be made: ${(error as Error).message}`);
    }
  }

  #ground(): Ground {
    return {
      folder: this.#layout.host,
      root: this.#root,
      nodes: this.#nodes,
      stackDir: this.#stackDir,
      confinement: this.confinement,
      network: this.network,
    };
  }

  #launch(folder: string, spec: BoxSpec, record: BoxRecord): Box {
    const box = this.#box(record, folder);
    const cwd = this.#layout.host;
    if (typeof spec.stdio === "object" && !Array.isArray(spec.stdio)) {
      const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
      const terminal = spawnTerminal("/bin/sh", [this.#launcher, path.relative(cwd, folder)], {
        cols: spec.stdio.columns,
        rows: spec.stdio.lines,
        name: "xterm",
        cwd,
        env,
        encoding: null,
      });
      terminal.onExit(() => box.letGo());
      box.terminal = terminal;
      return box;
    }
    const stdio = spec.stdio === "fifo" ? (["null", "null", "null"] as const) : spec.stdio;
    box.watch(
      spawnLauncher(
        this.#launcher,
        path.relative(cwd, folder),
        cwd,
        stdio.map((stream) => (stream === "null" ? "ignore" : stream)),
      ),
    );
    return box;
  }

  #box(record: BoxRecord, folder: string): Box {
    const box = new Box(record.id, folder, record.address, this.cgroups, async (ended) => {
      this.#live.delete(ended.id);
      if (record.slot && record.ownSlot) this.network?.give(record.slot);
      this.#removeGroups(ended.id);
      this.#remove(folder);
    });
    this.#live.set(record.id, { box, record });
    return box;
  }

  /** Finds what an earlier life of the host left: living boxes are returned, the rest is freed. */
  async #adopt(): Promise<Box[]> {
    const survivors: Box[] = [];
    const known = new Set<string>();
    for (const name of readdirSync(this.#folder)) {
      const folder = path.join(this.#folder, name);
      let record: BoxRecord | null = null;
      try {
        record = JSON.parse(readFileSync(path.join(folder, "box.json"), "utf8")) as BoxRecord;
      } catch {
        // A blank, or one whose start was cut off: nothing ran in it, or its cgroup tells.
      }
      if (record && ID.test(name) && record.id === name && Box.lives(folder)) {
        known.add(name);
        const box = this.#box(record, folder);
        box.adopt();
        survivors.push(box);
        continue;
      }
      if (ID.test(name)) await this.#end(name);
      this.#remove(folder);
    }
    for (const id of this.cgroups.ids()) if (!known.has(id)) await this.#end(id);
    return survivors;
  }

  /** Ends processes that only a cgroup knows, and removes it. */
  async #end(id: string): Promise<void> {
    const deadline = Date.now() + GROUP_END_MS;
    while (!this.cgroups.remove(id) && Date.now() < deadline) {
      if (!this.cgroups.kill(id)) {
        for (const pid of this.cgroups.pids(id)) {
          try {
            process.kill(pid, "SIGKILL");
          } catch {
            // Gone already.
          }
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Boxes alive now. */
  list(): Box[] {
    return [...this.#live.values()].map(({ box }) => box);
  }

  /** Removes a box's cgroups; a process that has closed its files may be in them for a moment yet. */
  #removeGroups(id: string): void {
    if (this.cgroups.remove(id)) return;
    const removal = this.#end(id).catch(() => {});
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
  }

  /** Takes a folder out of the way at once and removes its files behind everyone's back. */
  #remove(folder: string): void {
    const trash = path.join(this.#layout.host, "trash");
    mkdirSync(trash, { recursive: true, mode: 0o700 });
    const moved = path.join(trash, `${path.basename(folder)}-${process.pid}-${this.#serial++}`);
    try {
      renameSync(folder, moved);
    } catch {
      return;
    }
    const removal = removeTree(moved).catch(() => {});
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
  }

  /** Kills every box, then removes all that this Sluice has on the machine: network, cgroups, folders. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(
      this.list().map(async (box) => {
        await box.kill();
        await box.free();
      }),
    );
    await this.network?.close();
    await Promise.all(this.#removals);
    this.cgroups.removeAll();
    await this.#blanking?.catch(() => {});
    rmSync(this.#folder, { recursive: true, force: true });
    // Those of earlier lives too, on which adopted boxes stood.
    for (const name of readdirSync(this.#layout.host)) {
      if (ROOT.test(name)) rmSync(path.join(this.#layout.host, name), { recursive: true, force: true });
    }
    await Promise.all(this.#removals);
    rmSync(path.join(this.#layout.host, "trash"), { recursive: true, force: true });
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Closes descriptors that this process was started with and would pass on: everything that Node opens is closed on exec. */
function closeInherited(): void {
  for (const name of readdirSync("/proc/self/fdinfo")) {
    const flags = /^flags:\s*(\d+)/m.exec(readText(`/proc/self/fdinfo/${name}`))?.[1];
    if (Number(name) > 2 && flags && !(Number.parseInt(flags, 8) & 0o2000000)) {
      try {
        closeSync(Number(name));
      } catch {
        // It was the listing's own.
      }
    }
  }
}
