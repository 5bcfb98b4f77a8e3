import type { DynoReport, DynoState } from "../../wire/orders.ts";

/** What the hosts say of one dyno, newest first. */
export interface Live {
  state: DynoState;
  address: string | null;
  port: number | null;
  /** It crashed twice, never listened or never could start; stays so for the dyno's life. */
  failed: boolean;
}

/** Ends that no second try will better: the boot timed out, or the slug is damaged. */
const HOPELESS = new Set(["R10", "R17"]);
const CRASHES_TO_FAIL = 2;

/** The hosts' last word on every dyno; newer than the store's columns, which are written from it. */
export class Reports {
  #live = new Map<string, Live>();
  #crashes = new Map<string, number>();

  get(dyno: string): Live | undefined {
    return this.#live.get(dyno);
  }

  /** Takes one report; returns what it makes of the dyno. */
  take(report: DynoReport): Live {
    const before = this.#live.get(report.dyno);
    let crashes = this.#crashes.get(report.dyno) ?? 0;
    if (report.state === "crashed" && before?.state !== "crashed") crashes += 1;
    // A control that was away counts what the host counted; `restarts` are the crashes before this start.
    crashes = Math.max(crashes, report.restarts + (report.state === "crashed" ? 1 : 0));
    this.#crashes.set(report.dyno, crashes);
    const live: Live = {
      state: report.state,
      address: report.address,
      port: report.port,
      failed: (before?.failed ?? false) || crashes >= CRASHES_TO_FAIL || HOPELESS.has(report.reason ?? ""),
    };
    this.#live.set(report.dyno, live);
    return live;
  }

  /** A host does not have this dyno, so it will start it from its order. */
  restarted(dyno: string): void {
    this.#live.set(dyno, { state: "starting", address: null, port: null, failed: false });
  }

  forget(dyno: string): void {
    this.#live.delete(dyno);
    this.#crashes.delete(dyno);
  }
}
