import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { DynoOrder, DynoReport, DynoSignal } from "../wire/orders.ts";
import type { Box } from "./box/box.ts";
import type { HostContext } from "./context.ts";
import { findFiller } from "./disk.ts";
import { Dyno } from "./dyno.ts";
import { SAMPLE_MS } from "./meter.ts";
import { type DynoRecord, Records } from "./record.ts";

/** A kill by the kernel is told, and a full disk seen, within this time. */
const KILLS_MS = 2000;

/** All dynos of this machine: makes what runs what the orders say. */
export class Dynos {
  #context: HostContext;
  #records: Records;
  #folder: string;
  #dynos = new Map<string, Dyno>();
  /** Dynos that ended but whose order still stands: one-offs that control has not taken note of yet. */
  #complete = new Map<string, DynoReport>();
  #timers: NodeJS.Timeout[];
  #guarding = false;

  constructor(context: HostContext) {
    this.#context = context;
    this.#folder = path.join(context.layout.host, "dynos");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#records = new Records(this.#folder);
    this.#timers = [
      setInterval(() => {
        for (const dyno of this.#dynos.values()) dyno.meter?.sample();
      }, SAMPLE_MS),
      setInterval(() => {
        for (const dyno of this.#dynos.values()) dyno.meter?.checkKills();
        void this.#guardDisk();
      }, KILLS_MS),
    ];
  }

  /**
   * Takes up what an earlier life of the host left: its dynos go on in their boxes; formation dynos whose box
   * is gone start again; a box that no record names is ended. Nothing new may be started before.
   */
  async adopt(survivors: Box[]): Promise<void> {
    const boxes = new Map(survivors.map((box) => [box.id, box]));
    for (const record of this.#records.load()) {
      const box = record.box ? (boxes.get(record.box) ?? null) : null;
      const { kind, dyno, attach } = record.order;
      if (kind === "formation") {
        if (box) boxes.delete(box.id);
        else {
          record.slot = null;
          // The stop was its last wish, and its processes are gone.
          if (record.stopSince) {
            this.#records.forget(dyno);
            continue;
          }
          record.upSince = 0;
        }
        this.#live(record, box);
      } else if (record.state === "complete") {
        this.#complete.set(dyno, this.#ended(record));
      } else if (box && !attach) {
        boxes.delete(box.id);
        this.#live(record, box);
      } else {
        // Its terminal went with the host, or it ended while there was none: it runs once, so that was it.
        record.state = "complete";
        record.status ??= 137;
        record.slot = null;
        this.#records.save(record);
        this.#complete.set(dyno, this.#ended(record));
      }
    }
    await Promise.all(
      [...boxes.values()].map(async (box) => {
        await box.kill();
        await box.free();
      }),
    );
  }

  #ended({ order, state, status, reason, restarts }: DynoRecord): DynoReport {
    const at = Date.now() * 1000;
    const ids = { dyno: order.dyno, app: order.app };
    return { ...ids, state, address: null, port: null, status, reason, restarts, memoryBytes: null, at };
  }

  #live(record: DynoRecord, box: Box | null): void {
    const id = record.order.dyno;
    const dyno = new Dyno(this.#context, this.#records, record, box);
    this.#dynos.set(id, dyno);
    void dyno.ended.then(() => {
      if (record.state !== "down" && record.state !== "complete") return;
      this.#dynos.delete(id);
      if (record.state === "complete" && (!record.stopSince || record.expired))
        this.#complete.set(id, dyno.report());
      else this.#records.forget(id);
    });
  }

  /** Applies the orders: `table` is what shall run, `keys` what changed in it; `all` after a snapshot. */
  apply(table: ReadonlyMap<string, DynoOrder>, keys: string[], all: boolean): void {
    if (all) {
      for (const id of [...this.#dynos.keys(), ...this.#complete.keys()])
        if (!table.has(id)) this.#remove(id);
    }
    for (const id of keys) {
      const order = table.get(id);
      if (!order) this.#remove(id);
      // Only that a key is there counts: changed fields never restart a dyno.
      else if (!this.#dynos.has(id) && !this.#complete.has(id)) this.#live(Dyno.fresh(order), null);
    }
  }

  #remove(id: string): void {
    this.#dynos.get(id)?.stop();
    if (this.#complete.delete(id)) this.#records.forget(id);
  }

  /** Ends the dyno that fills the disk, when it is nearly full. */
  async #guardDisk(): Promise<void> {
    if (this.#guarding) return;
    this.#guarding = true;
    try {
      const dynos = new Map([...this.#dynos.values()].map((dyno) => [dyno.folder, dyno]));
      const folders = [...dynos.keys()].filter((folder) => folder !== null);
      const filler = await findFiller(this.#folder, folders);
      if (filler) dynos.get(filler.box)?.endForDisk(filler.bytes);
    } catch {
      // The host is stopping, and its folder gone.
    } finally {
      this.#guarding = false;
    }
  }

  /** Everything this machine has, for the inventory. */
  reports(): DynoReport[] {
    return [...[...this.#dynos.values()].map((dyno) => dyno.report()), ...this.#complete.values()];
  }

  restart(id: string): void {
    this.#dynos.get(id)?.restart();
  }

  signal(message: DynoSignal): void {
    this.#dynos.get(message.dyno)?.signal(message);
  }

  /** Ends all dynos: SIGTERM and 30 s for all at once; with `now` SIGKILL. Their records go too. */
  async stop(now: boolean): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const dyno of this.#dynos.values()) {
      if (now) dyno.kill();
      else dyno.stop();
    }
    await Promise.all([...this.#dynos.values()].map((dyno) => dyno.ended));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The host leaves; dynos go on. */
  abandon(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const dyno of this.#dynos.values()) dyno.abandon();
  }
}
