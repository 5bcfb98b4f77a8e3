import { readdirSync, readFileSync } from "node:fs";
import type { DynoOrder } from "../wire/orders.ts";
import type { Box } from "./box/box.ts";
import type { MemoryUse } from "./box/cgroups.ts";

const MIB = 1024 * 1024;
/** Heroku writes memory lines and samples every 20 to 22 s; SLUICE_SAMPLE_SECONDS changes it. */
export const SAMPLE_MS = (Number(process.env.SLUICE_SAMPLE_SECONDS) || 20) * 1000;
/** Windows of the load averages: name and minutes. */
const WINDOWS = [
  ["1m", 1],
  ["5m", 5],
  ["15m", 15],
] as const;

/**
 * Looks at what one start of a dyno uses, and tells it in Heroku's lines: R14, R15 and, with the app feature
 * `log-runtime-metrics`, two samples (contract, sections 2 and 3).
 */
export class Meter {
  #box: Box;
  #order: DynoOrder;
  #say: (text: string) => void;
  #onExceed: () => void;
  #kills: number;
  #exceeded = false;
  #loads: number[] | null = null;

  /** @param onExceed called once, after the lines of R15. */
  constructor(box: Box, order: DynoOrder, say: (text: string) => void, onExceed: () => void) {
    this.#box = box;
    this.#order = order;
    this.#say = say;
    this.#onExceed = onExceed;
    this.#kills = box.memory()?.kills ?? 0;
  }

  /** Looks at the kernel's count of kills; cheap, so it is called often. */
  checkKills(): void {
    const memory = this.#box.memory();
    if (memory && memory.kills > this.#kills) this.#exceed(memory);
  }

  /** Heroku's look every 20 s. */
  sample(): void {
    const memory = this.#box.memory();
    if (this.#order.metrics) this.#sayMetrics(memory);
    if (!memory) return;
    const quota = this.#order.limits.memoryBytes;
    if (memory.resident >= 2 * quota || memory.kills > this.#kills) {
      this.#exceed(memory);
    } else if (memory.quota > quota) {
      this.#sayMemory(memory.quota);
      this.#say("Error R14 (Memory quota exceeded)");
    }
  }

  #exceed(memory: MemoryUse): void {
    if (this.#exceeded) return;
    this.#exceeded = true;
    this.#sayMemory(Math.max(memory.resident, 2 * this.#order.limits.memoryBytes));
    this.#say("Error R15 (Memory quota vastly exceeded)");
    this.#say("Stopping process with SIGKILL");
    this.#onExceed();
  }

  #sayMemory(bytes: number): void {
    const share = ((bytes / this.#order.limits.memoryBytes) * 100).toFixed(1);
    this.#say(`Process running mem=${Math.round(bytes / MIB)}M(${share}%)`);
  }

  #sayMetrics(memory: MemoryUse | null): void {
    const { name, uid, dyno, limits } = this.#order;
    // The user id is what an app has of a number.
    const head = `source=${name} dyno=heroku.${uid}.${dyno}`;
    const runnable = runnableTasks(this.#box.pids());
    this.#loads = WINDOWS.map(([, minutes], index) => {
      const last = this.#loads?.[index] ?? 0;
      const weight = Math.exp(-SAMPLE_MS / (minutes * 60_000));
      return last * weight + runnable * (1 - weight);
    });
    const loads = this.#loads.map(
      (load, index) => `sample#load_avg_${WINDOWS[index]?.[0]}=${load.toFixed(2)}`,
    );
    this.#say(`${head} ${loads.join(" ")}`);
    if (!memory) return;
    const size = (bytes: number): string => `${(bytes / MIB).toFixed(2)}MB`;
    const { quota, resident, swap, pageIns, pageOuts } = memory;
    this.#say(
      `${head} sample#memory_total=${size(quota)} sample#memory_rss=${size(resident - swap)} ` +
        `sample#memory_cache=${size(quota - resident)} sample#memory_swap=${size(swap)} ` +
        `sample#memory_pgpgin=${pageIns}pages sample#memory_pgpgout=${pageOuts}pages ` +
        `sample#memory_quota=${size(limits.memoryBytes)}`,
    );
  }
}

/** Threads of these processes that run or wait for a CPU alone. */
function runnableTasks(pids: number[]): number {
  let count = 0;
  for (const pid of pids) {
    try {
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, "latin1");
        if (stat.charAt(stat.lastIndexOf(")") + 2) === "R") count += 1;
      }
    } catch {
      // It ended meanwhile.
    }
  }
  return count;
}
