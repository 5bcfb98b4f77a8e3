import { setTimeout as delay } from "node:timers/promises";
import {
  DYNO_REPORT,
  type DynoOrder,
  type DynoReport,
  type DynoSignal,
  type DynoState,
} from "../wire/orders.ts";
import { Source } from "../wire/source.ts";
import type { Joined } from "./attachment.ts";
import { crashWait, startedCorrectly } from "./backoff.ts";
import type { Box } from "./box/box.ts";
import type { BoxEnd } from "./box/spec.ts";
import type { HostContext } from "./context.ts";
import { Holdings } from "./holdings.ts";
import { ListenWatch } from "./listening.ts";
import { Meter } from "./meter.ts";
import { nowMicros, Output } from "./output.ts";
import type { DynoRecord, Records } from "./record.ts";
import { ChecksumError } from "./slugs.ts";

/** Heroku's grace between SIGTERM and SIGKILL (contract, section 4). */
const stopSeconds = (): number => Number(process.env.SLUICE_STOP_SECONDS) || 30;
/** A start that failed for the platform's reasons (control away, no address left) is tried again after this. */
const RETRY_MS = 1000;
/** Between two looks whether a box that is being laid has a process to stop. */
const TERM_RETRY_SECONDS = 0.02;
/** An attached one-off without input and output for this long loses its client (Heroku: 1 h). */
const IDLE_CLIENT_MS = 3_600_000;

/** One dyno: its order, its life cycle, and its lines in the log in Heroku's words. */
export class Dyno {
  readonly record: DynoRecord;
  /** Resolves when it has ended for good: stopped, or a one-off that is complete. */
  readonly ended: Promise<void>;
  #context: HostContext;
  #records: Records;
  #app: number;
  #process: number;
  #box: Box | null = null;
  #joined: Joined | null = null;
  #watch: ListenWatch | null = null;
  #timers = new Set<NodeJS.Timeout>();
  /** Ends a wait of the life cycle early. */
  #wake = new AbortController();
  #again = false;
  #left = false;
  #meter: Meter | null = null;
  #holdings: Holdings;

  /** @param survivor its box from an earlier life of the host; null starts it. */
  constructor(context: HostContext, records: Records, record: DynoRecord, survivor: Box | null) {
    this.#context = context;
    this.#records = records;
    this.record = record;
    this.#holdings = new Holdings(context, record);
    this.#app = context.log.app(record.order.app);
    this.#process = context.log.process(record.order.name);
    this.ended = this.#live(survivor);
  }

  static fresh(order: DynoOrder): DynoRecord {
    return {
      order,
      state: "starting",
      box: null,
      starts: 0,
      port: 0,
      slot: null,
      status: null,
      reason: null,
      restarts: 0,
      crashes: 0,
      upSince: 0,
      stopSince: 0,
      expired: false,
    };
  }

  get order(): DynoOrder {
    return this.record.order;
  }

  /** The same for the feed's table and the wire. */
  report(): DynoReport {
    const { order, state, port, slot, status, reason, restarts } = this.record;
    const runs = this.#box !== null;
    return {
      dyno: order.dyno,
      app: order.app,
      state,
      address: runs ? (slot?.address ?? "127.0.0.1") : null,
      port: runs ? port : null,
      status,
      reason,
      restarts,
      memoryBytes: this.#box?.memory()?.quota ?? null,
      at: nowMicros(),
    };
  }

  #say(text: string): void {
    this.#context.log.write(this.#app, this.#process, Source.Platform, nowMicros(), Buffer.from(text));
  }

  /** Changes the state, keeps it and tells control. `silent` where Heroku prints no line. */
  #become(state: DynoState, silent = false): void {
    const { record } = this;
    if (!silent && record.state !== state) this.#say(`State changed from ${record.state} to ${state}`);
    record.state = state;
    record.upSince = state === "up" ? Date.now() : 0;
    this.#records.save(record);
    this.#context.send(DYNO_REPORT, this.report());
  }

  #after(seconds: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, seconds * 1000);
    this.#timers.add(timer);
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#watch?.stop();
    this.#watch = null;
  }

  /** The whole life: starts, crashes, waits, until it is stopped or complete. */
  async #live(survivor: Box | null): Promise<void> {
    const { record } = this;
    const formation = record.order.kind === "formation";
    let box = survivor;
    if (!box) this.#become("starting", true);
    for (;;) {
      const wanted = (): boolean => !record.stopSince && !this.#left;
      const end = box || wanted() ? await this.#once(box) : null;
      box = null;
      if (this.#left) return;
      if (record.stopSince || !formation) break;
      if (this.#again) {
        // A restart by hand; its lines are written where it began.
        this.#again = false;
        record.crashes = 0;
        continue;
      }
      if (end === "retry") {
        await this.#wait(RETRY_MS);
        continue;
      }
      if (record.reason !== "R10" && startedCorrectly(this.#upMs, record.crashes)) record.crashes = 0;
      record.crashes += 1;
      this.#become("crashed");
      if (record.reason === "R17") await this.#wait(null);
      else await this.#wait(crashWait(record.crashes));
      if (this.#left) return;
      if (record.stopSince) break;
      if (this.#again) {
        this.#again = false;
        record.crashes = 0;
      } else record.restarts += 1;
      record.reason = null;
      this.#become("starting");
    }
    this.#holdings.letGo();
    if (formation) this.#become("down", true);
    else this.#become("complete", record.status === null);
    this.#records.save(record);
  }

  #upMs = 0;

  /** Waits, for ever with null, until the time is over or a stop or restart wakes it. */
  async #wait(ms: number | null): Promise<void> {
    this.#wake = new AbortController();
    if (this.record.stopSince || this.#again) return;
    // The longest that a timer takes; nobody waits for it in earnest.
    await delay(ms ?? 2 ** 31 - 1, undefined, { signal: this.#wake.signal }).catch(() => {});
  }

  /** One start to its end. `retry`: it could not even start, for no fault of the app's. */
  async #once(survivor: Box | null): Promise<BoxEnd | "retry" | "refused"> {
    const { record } = this;
    let box = survivor;
    if (!box) {
      try {
        const started = await this.#holdings.start(
          () => record.stopSince > 0 || this.#left,
          () => {
            // Written before the box is: a box without a record would be ended by the next life of the host.
            this.#records.save(record);
            this.#say(`Starting process with command \`${record.order.command}\``);
          },
        );
        if (!started) return "retry";
        ({ box, joined: this.#joined } = started);
      } catch (error) {
        return this.#failed(error as Error);
      }
      // Asked for before this instance ran: it is the new one.
      this.#again = false;
    } else this.#holdings.hold();
    this.#box = box;
    this.#meter = new Meter(
      box,
      record.order,
      (text) => this.#say(text),
      () => {
        record.reason = "R15";
        void box.kill();
      },
    );
    const output = record.order.attach ? null : new Output(box, this.#context.log, this.#app, this.#process);
    if (record.stopSince)
      this.#terminate(Math.max(0, stopSeconds() - (Date.now() - record.stopSince) / 1000));
    else if (!record.upSince) this.#awaitUp(box);
    else if (record.state !== "up") record.state = "up";
    if (record.order.timeToLive && !record.stopSince)
      this.#after(record.order.timeToLive, () => this.#expire());
    if (this.#joined) this.#watchClient();
    const end = await Promise.race([box.exited, this.#leaving]);
    if (!end) {
      this.#clearTimers();
      output?.leave();
      return "retry";
    }
    this.#clearTimers();
    this.#upMs = record.upSince ? Date.now() - record.upSince : 0;
    // The kernel ended it at the limit, or the last look at its memory was too long ago.
    if (end.status === 137) this.#meter.checkKills();
    output?.finish();
    this.#context.log.flush();
    if (end.fault) this.#say(`Error R99 (Platform error) -> The dyno could not be set up: ${end.fault}`);
    record.status = end.status;
    await box.free();
    await this.#joined?.finish();
    this.#joined = null;
    this.#box = null;
    record.box = null;
    this.#say(`Process exited with status ${end.status}`);
    return end;
  }

  /** Why a start was refused, and what follows. */
  #failed(error: Error): "retry" | "refused" {
    const { record } = this;
    if (error instanceof ChecksumError) {
      record.reason = "R17";
      this.#say(
        `Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:${error.expected} Actual: SHA256:${error.actual}`,
      );
      record.status ??= record.order.kind === "formation" ? null : 1;
      return "refused";
    }
    // The host's own failure, told once: control is away, or this machine is full.
    if (record.reason !== "R99") this.#say(`Error R99 (Platform error) -> ${error.message}`);
    record.reason = "R99";
    record.status ??= record.order.kind === "formation" ? null : 1;
    return "retry";
  }

  /** Others are up once started; a web dyno when it listens. */
  #awaitUp(box: Box): void {
    const { record } = this;
    const { order } = record;
    record.reason = null;
    if (!order.listens) {
      this.#become("up");
      return;
    }
    if (record.state !== "starting") this.#become("starting");
    // The kept pid saves a look-up every few milliseconds; the box's first process never changes.
    let pid: number | null = null;
    const first = (): number | null => {
      pid ??= box.pid;
      return pid;
    };
    this.#watch = new ListenWatch(record.port, first, record.slot ? null : () => box.pids(), () =>
      this.#become("up"),
    );
    this.#after(order.bootSeconds, () => {
      if (record.state !== "starting") return;
      record.reason = "R10";
      this.#say(
        `Error R10 (Boot timeout) -> Web process failed to bind to $PORT within ${order.bootSeconds} seconds of launch`,
      );
      this.#say("Stopping process with SIGKILL");
      void box.kill();
    });
  }

  #watchClient(): void {
    this.#after(60, () => {
      if (!this.#joined) return;
      if (Date.now() - this.#joined.active > IDLE_CLIENT_MS) this.#box?.signal("SIGHUP");
      this.#watchClient();
    });
  }

  /** SIGTERM to all processes, SIGKILL to what is left after the grace. */
  #terminate(seconds = stopSeconds()): void {
    const box = this.#box;
    if (!box) return;
    this.#clearTimers();
    this.#say("Stopping all processes with SIGTERM");
    this.#sendTerm(box);
    this.#after(seconds, () => {
      if (this.#box !== box) return;
      this.#say(
        `Error R12 (Exit timeout) -> At least one process failed to exit within ${stopSeconds()} seconds of SIGTERM`,
      );
      this.#say("Stopping remaining processes with SIGKILL");
      this.record.reason = "R12";
      void box.kill();
    });
  }

  /** SIGTERM once there is a process to take it: a box that is still being laid would lose it. */
  #sendTerm(box: Box): void {
    if (this.#box !== box || box.signal("SIGTERM") > 0) return;
    this.#after(TERM_RETRY_SECONDS, () => this.#sendTerm(box));
  }

  /** Its order is gone: ends it, with the grace that Heroku gives; `ended` resolves when it is gone. */
  stop(): void {
    this.record.expired = false;
    this.#stop();
  }

  /** A one-off's time is over, but its order stands: control must hear of its end. */
  #expire(): void {
    this.record.expired = true;
    this.#stop();
  }

  #stop(): void {
    if (this.record.stopSince) return;
    this.record.stopSince = Date.now();
    this.#records.save(this.record);
    this.#terminate();
    this.#wake.abort();
  }

  /** Ends it at once. */
  kill(): void {
    this.record.stopSince ||= Date.now();
    this.#clearTimers();
    void this.#box?.kill();
    this.#wake.abort();
  }

  /** A restart by hand: a new instance, the back-off reset. One-offs are not restarted. */
  restart(): void {
    if (this.record.order.kind !== "formation" || this.record.stopSince || this.#again) return;
    this.#again = true;
    if (this.#box) {
      this.#say("Restarting");
      this.#become("starting");
      this.#terminate();
    }
    this.#wake.abort();
  }

  /** A signal for its processes, or a new size of its terminal. */
  signal({ signal, columns, lines }: DynoSignal): void {
    if (columns && lines) {
      try {
        this.#box?.terminal?.resize(columns, lines);
      } catch {
        // The terminal closed meanwhile.
      }
    }
    if (signal) this.#box?.signal(signal);
  }

  /** Its meter, while it runs and is not being stopped. */
  get meter(): Meter | null {
    return this.#box && !this.record.stopSince ? this.#meter : null;
  }

  /** Folder of its box, while it runs. */
  get folder(): string | null {
    return this.#box?.folder ?? null;
  }

  /** It has filled this machine's disk with `bytes`: ends it, as a crash; its writes go with it. */
  endForDisk(bytes: number): void {
    const megabytes = Math.round(bytes / (1024 * 1024));
    this.#say(
      `Error R99 (Platform error) -> This machine's disk is nearly full, and this dyno has written ${megabytes} MB: write less, or to a store of its own`,
    );
    this.#say("Stopping process with SIGKILL");
    void this.#box?.kill();
  }

  #leave: () => void = () => {};
  #leaving = new Promise<null>((resolve) => {
    this.#leave = () => resolve(null);
  });

  /** The host leaves, the dyno goes on: the next host adopts it. */
  abandon(): void {
    this.#left = true;
    this.#leave();
    this.#clearTimers();
    this.#wake.abort();
    this.#records.save(this.record);
  }
}
