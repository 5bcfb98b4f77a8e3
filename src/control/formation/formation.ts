import type { Actor, Release } from "../releases/releases.ts";

export interface OneOff {
  command: string;
  attach: boolean;
  env: Record<string, string>;
  size?: string;
  type?: string;
  terminal: boolean;
  columns: number;
  lines: number;
  timeToLive: number;
  /**
   * An attached one-off's bytes shall end with `\uFFFF heroku-command-exit-status: N\n` (what `heroku run -x` has its
   * own shell print), so that `sluice run` need not change the command. Field `exit_status` of POST dynos.
   */
  exitStatus?: boolean;
}

export interface FormationUpdate {
  type: string;
  /** A count, or as typed: `"2"`, `"+1"`, `"-1"`. */
  quantity?: number | string;
  /** In any case. */
  size?: string;
}

export interface Dyno {
  id: string;
  appId: string;
  name: string;
  type: string;
  command: string;
  size: string;
  state: string;
  releaseId: string;
  releaseVersion: number;
  /** `rendezvous://host:port/secret` for an attached one-off, only in the answer that made it. */
  attachUrl: string | null;
  createdAt: Date;
  updatedAt: Date;
}

/** What a process type of the current slug shall have. */
export interface FormationType {
  id: string;
  type: string;
  command: string;
  quantity: number;
  size: string;
  createdAt: Date;
  updatedAt: Date;
}

/** Decides which dynos shall run and who gets requests; orders and routes are made here and nowhere else. */
export interface Formation {
  /** A release became current: start its dynos and retire the old ones as design section 8.6 says. Resolves when the new dynos are ordered. */
  release(release: Release): Promise<void>;
  /** The process types of the current slug, by name; empty before the first deploy. */
  types(appId: string): Promise<FormationType[]>;
  /** All updates or none. @throws ApiError 404 for an unknown type, 422 for what cannot be */
  scale(appId: string, actor: Actor, updates: FormationUpdate[]): Promise<void>;
  /** Restarts all, those of one type, or one dyno. */
  restart(appId: string, which?: { type?: string; dyno?: string }): Promise<void>;
  stop(appId: string, which: { type?: string; dyno?: string }): Promise<void>;
  run(appId: string, actor: Actor, oneOff: OneOff): Promise<Dyno>;
  /** The window of an attached one-off changed: `PATCH /apps/:app/dynos/:dyno {"columns", "lines"}`. */
  resize(appId: string, dyno: string, columns: number, lines: number): Promise<void>;
  dynos(appId: string): Promise<Dyno[]>;
  /** Name, domains, maintenance, features or page URLs changed: publish the app's route anew. */
  publishRoute(appId: string): Promise<void>;
  /**
   * Runs the `release` process type of a pending release as a one-off with its slug and config. Each chunk that
   * it prints goes to `print`. Resolves with the exit status, once it has ended.
   */
  releasePhase(release: Release, print: (chunk: Buffer) => void): Promise<number>;
  /** Every app's orders and routes are published: call it before the links serve. Dynos of the last control go on. */
  start(): Promise<void>;
  /** Resolves when a host has said what it runs, or none came for a while; edges wait for it. */
  readonly adopted: Promise<void>;
  /** Waits for what is under way; dynos go on. */
  close(): Promise<void>;
  /**
   * The app's rows are gone: stop its dynos, take its routes away, have the hosts forget it.
   * @throws ApiError 503 when no host is there to be told; the dynos have no orders any more all the same.
   */
  destroyed(appId: string, uids: number[]): Promise<void>;
}
