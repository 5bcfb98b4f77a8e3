import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { DynoOrder, DynoState } from "../wire/orders.ts";
import type { Slot } from "./box/network.ts";

/** What the next life of the host must know of a dyno; `<host>/dynos/<dyno>.json`. */
export interface DynoRecord {
  order: DynoOrder;
  state: DynoState;
  /** Box of its last start, `<dyno>.<n>`; null before the first. */
  box: string | null;
  /** Starts so far. */
  starts: number;
  port: number;
  slot: Slot | null;
  status: number | null;
  reason: string | null;
  /** Times it was started again after a crash. */
  restarts: number;
  /** Crashes in a row, for the back-off. */
  crashes: number;
  /** When it came up; milliseconds since the epoch, 0 when it is not. */
  upSince: number;
  /** When its stop began, 0 when it is wanted; so a stop that a dead host began is finished by the next. */
  stopSince: number;
  /** That stop is its time to live's, not an order's. */
  expired: boolean;
}

/** The records of all dynos on disk. */
export class Records {
  #folder: string;

  /** @param folder must be there. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  #file(dyno: string): string {
    return path.join(this.#folder, `${path.basename(dyno)}.json`);
  }

  /** Every whole record; one cut short was never acted upon. */
  load(): DynoRecord[] {
    const records: DynoRecord[] = [];
    for (const name of readdirSync(this.#folder)) {
      if (!name.endsWith(".json")) continue;
      try {
        records.push(JSON.parse(readFileSync(path.join(this.#folder, name), "utf8")) as DynoRecord);
      } catch {
        rmSync(path.join(this.#folder, name), { force: true });
      }
    }
    return records;
  }

  save(record: DynoRecord): void {
    const file = this.#file(record.order.dyno);
    try {
      writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch {
      // A full disk: the dyno runs all the same; only a next life of the host would start it anew.
    }
  }

  forget(dyno: string): void {
    rmSync(this.#file(dyno), { force: true });
  }
}
