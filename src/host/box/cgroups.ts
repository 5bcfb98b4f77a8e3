import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  write as writeLater,
} from "node:fs";
import path from "node:path";
import type { Limits } from "../../wire/orders.ts";

/** The kernel's limit of a box is this many times its size: between the two lies R14, at it R15. */
export const MEMORY_LIMIT_FACTOR = 2;
/** Processes of the launcher's own in a box's cgroup: unshare, and the box's first. */
const LAUNCHER_PROCESSES = 2;

/** Memory of a box in bytes; `quota` counts cache, as R14 does, `resident` does not, as R15. */
export interface MemoryUse {
  quota: number;
  /** Swap included. */
  resident: number;
  swap: number;
  /** Pages taken and given back so far; 0 where the kernel does not count them (cgroups version 2). */
  pageIns: number;
  pageOuts: number;
  /** Processes that the kernel ended at the limit so far. */
  kills: number;
}

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};
const write = (file: string, value: string): boolean => {
  try {
    writeFileSync(file, value);
    return true;
  } catch {
    return false;
  }
};
const field = (text: string, name: string): number => {
  const match = new RegExp(`^${name} (\\d+)$`, "m").exec(text);
  return match ? Number(match[1]) : 0;
};

type Controller = "memory" | "pids" | "cpu";
const CONTROLLERS: readonly Controller[] = ["memory", "pids", "cpu"];

/**
 * The cgroups of this Sluice's boxes: one folder `sluice-<mark>` in each hierarchy, below it one a box.
 * Version 1 has a hierarchy a controller, version 2 one for all; a machine may have both, each with some.
 */
export class Cgroups {
  /** Mount point of each hierarchy that holds a controller we use, or cgroup.kill. */
  #roots = new Map<string, { version: 1 | 2; controllers: Set<Controller> }>();
  #own: string;
  /** cgroup.procs of a group that this process is in, open; null when there is none that we may write to. */
  #home: number | null = null;
  /** Controllers that this machine does not let us use, in words for the start line. */
  readonly missing: Controller[] = [];

  /** @param mark of the layout; names the folders. */
  constructor(mark: string) {
    this.#own = `sluice-${mark}`;
    const found = new Set<Controller>();
    for (const line of read("/proc/mounts").split("\n")) {
      const [, mount = "", type = "", options = ""] = line.split(" ");
      if (type === "cgroup") {
        const held = CONTROLLERS.filter((name) => options.split(",").includes(name));
        if (held.length && this.#make(mount)) {
          this.#roots.set(mount, { version: 1, controllers: new Set(held) });
          for (const name of held) found.add(name);
        }
      } else if (type === "cgroup2") {
        const held = this.#delegate(mount).filter((name) => !found.has(name));
        if (this.#make(mount)) {
          for (const name of held) write(path.join(mount, this.#own, "cgroup.subtree_control"), `+${name}`);
          this.#roots.set(mount, { version: 2, controllers: new Set(held) });
          for (const name of held) found.add(name);
        }
      }
    }
    for (const name of CONTROLLERS) if (!found.has(name)) this.missing.push(name);
    this.#home = this.#openHome();
  }

  #openHome(): number | null {
    for (const line of read("/proc/self/cgroup").split("\n")) {
      const [, , group] = line.split(/:([^:]*):/);
      for (const mount of this.#roots.keys()) {
        const file = path.join(mount, group ?? "", "cgroup.procs");
        try {
          if (read(file).split("\n").includes(String(process.pid))) return openSync(file, "w");
        } catch {
          // Not ours to write to.
        }
      }
    }
    return null;
  }

  /** True when at least the folders can be made, so a box's processes can be listed and ended as one. */
  get usable(): boolean {
    return this.#roots.size > 0;
  }

  #make(mount: string): boolean {
    try {
      mkdirSync(path.join(mount, this.#own), { recursive: true });
      return true;
    } catch {
      return false;
    }
  }

  /** Turns the controllers on for children of a version 2 root; returns those that are. */
  #delegate(mount: string): Controller[] {
    const there = read(path.join(mount, "cgroup.controllers")).split(/\s+/);
    const wanted = CONTROLLERS.filter((name) => there.includes(name));
    const control = path.join(mount, "cgroup.subtree_control");
    const enable = (): boolean => wanted.every((name) => write(control, `+${name}`));
    if (wanted.length && !enable() && process.getuid?.() === 0) {
      // A container's root group may hold processes or children with controllers, not both: move the processes.
      const leaf = path.join(mount, "machine");
      try {
        mkdirSync(leaf, { recursive: true });
      } catch {
        return [];
      }
      for (const pid of read(path.join(mount, "cgroup.procs")).split("\n").filter(Boolean)) {
        write(path.join(leaf, "cgroup.procs"), pid);
      }
      enable();
    }
    const on = read(control).split(/\s+/);
    return wanted.filter((name) => on.includes(name));
  }

  /**
   * Makes the kernel ready to move a process: the first move after a pause waits some 10 ms for every processor
   * (cgroup_threadgroup_rwsem), those right after it do not. So that wait is had while a box is laid: this
   * process moves to where it is already.
   */
  ready(): void {
    // One call for a thread of libuv's: it begins while this one goes on.
    if (this.#home !== null) writeLater(this.#home, String(process.pid), () => {});
  }

  /** Makes the groups of a box with its limits; returns the folders whose cgroup.procs its launcher joins. */
  create(id: string, limits: Limits | null): string[] {
    const groups: string[] = [];
    for (const [mount, { version, controllers }] of this.#roots) {
      const group = path.join(mount, this.#own, id);
      mkdirSync(group, { recursive: true });
      groups.push(group);
      if (!limits) continue;
      const hard = String(limits.memoryBytes * MEMORY_LIMIT_FACTOR);
      const processes = String(limits.processes + LAUNCHER_PROCESSES);
      if (controllers.has("memory") && version === 1) {
        write(path.join(group, "memory.limit_in_bytes"), hard);
        write(path.join(group, "memory.memsw.limit_in_bytes"), hard);
      } else if (controllers.has("memory")) {
        write(path.join(group, "memory.max"), hard);
        write(path.join(group, "memory.swap.max"), "0");
      }
      if (controllers.has("pids")) write(path.join(group, "pids.max"), processes);
      if (controllers.has("cpu") && version === 1) {
        write(path.join(group, "cpu.shares"), String(Math.max(2, Math.round(limits.cpuShares * 1024))));
      } else if (controllers.has("cpu")) {
        const weight = Math.min(10_000, Math.max(1, Math.round(limits.cpuShares * 100)));
        write(path.join(group, "cpu.weight"), String(weight));
      }
    }
    return groups;
  }

  /** Ids that have groups now, of this life of the host or an earlier one. */
  ids(): string[] {
    const ids = new Set<string>();
    for (const mount of this.#roots.keys()) {
      try {
        for (const entry of readdirSync(path.join(mount, this.#own), { withFileTypes: true })) {
          if (entry.isDirectory()) ids.add(entry.name);
        }
      } catch {
        // The hierarchy went away: nothing there.
      }
    }
    return [...ids];
  }

  /** Processes of a box, the launcher's own among them. */
  pids(id: string): number[] {
    const pids = new Set<number>();
    for (const mount of this.#roots.keys()) {
      for (const pid of read(path.join(mount, this.#own, id, "cgroup.procs")).split("\n")) {
        if (pid) pids.add(Number(pid));
      }
      // Every process of the box is in each of its groups: the first that tells of any tells of all.
      if (pids.size) break;
    }
    return [...pids];
  }

  /** Ends every process of a box with one write where the kernel can; true when it could. */
  kill(id: string): boolean {
    for (const [mount, { version }] of this.#roots) {
      if (version !== 2) continue;
      const file = path.join(mount, this.#own, id, "cgroup.kill");
      if (existsSync(file) && write(file, "1")) return true;
    }
    return false;
  }

  /** Memory of a box; null when the machine does not count it. */
  memory(id: string): MemoryUse | null {
    for (const [mount, { version, controllers }] of this.#roots) {
      if (!controllers.has("memory")) continue;
      const group = path.join(mount, this.#own, id);
      const stat = read(path.join(group, "memory.stat"));
      if (!stat) return null;
      if (version === 1) {
        const swap = field(stat, "total_swap");
        const resident = field(stat, "total_rss") + swap;
        return {
          resident,
          swap,
          quota: resident + field(stat, "total_cache"),
          pageIns: field(stat, "total_pgpgin"),
          pageOuts: field(stat, "total_pgpgout"),
          kills: field(read(path.join(group, "memory.oom_control")), "oom_kill"),
        };
      }
      const swap = Number(read(path.join(group, "memory.swap.current"))) || 0;
      const resident = field(stat, "anon") + swap;
      return {
        resident,
        swap,
        quota: resident + field(stat, "file"),
        pageIns: 0,
        pageOuts: 0,
        kills: field(read(path.join(group, "memory.events")), "oom_kill"),
      };
    }
    return null;
  }

  /** Removes the groups of a box, whose processes are gone; true when nothing is left of them. */
  remove(id: string): boolean {
    let gone = true;
    for (const mount of this.#roots.keys()) {
      const group = path.join(mount, this.#own, id);
      try {
        rmdirSync(group);
      } catch {
        if (existsSync(group)) gone = false;
      }
    }
    return gone;
  }

  /** Removes this Sluice's own folders, at the end. */
  removeAll(): void {
    for (const id of this.ids()) this.remove(id);
    for (const mount of this.#roots.keys()) {
      try {
        rmdirSync(path.join(mount, this.#own));
      } catch {
        // Something is still in it; the next start tries again.
      }
    }
  }
}
