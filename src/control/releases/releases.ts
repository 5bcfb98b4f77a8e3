import type { Readable } from "node:stream";
import type { Queryable } from "../store/store.ts";

export interface Release {
  id: string;
  appId: string;
  version: number;
  slugId: string | null;
  description: string;
  userId: string;
  userEmail: string;
  status: "pending" | "succeeded" | "failed";
  /** A sentence when its web dynos did not come up, so that older ones go on serving; else null. */
  trouble: string | null;
  addonPlanNames: string[];
  /** Capability of its output_stream_url; null without a release phase. */
  outputToken: string | null;
  createdAt: Date;
  updatedAt: Date;
}

export interface Actor {
  id: string;
  email: string;
}

/** What makes a release differ from the one before it. */
export interface ReleaseChange {
  /** A new slug. */
  slugId?: string;
  /** Config vars to set, or (null) to remove. */
  config?: Record<string, string | null>;
  /** Take slug and config of this earlier version. */
  rollbackTo?: number;
}

/** The ledger: every change of what an app runs is a row here, written in one transaction. */
export interface Releases {
  /**
   * Appends a release to the ledger and sets the formation moving: its release phase first when the slug has
   * one, then new dynos. Resolves when the row is committed and the new dynos are ordered (or, with a release
   * phase, when that is under way). Writes the two log lines of contract section 3.
   * @param before runs in the same transaction, before the row (a build marks itself succeeded there).
   * @throws ApiError 422 when the change cannot be (unknown version, config over 64 KB, …).
   */
  create(
    appId: string,
    actor: Actor,
    description: string,
    change: ReleaseChange,
    before?: (tx: Queryable) => Promise<void>,
  ): Promise<Release>;
  /** The newest succeeded release: what new dynos run; null for a blank app. */
  current(appId: string): Promise<Release | null>;
  config(release: Release): Promise<Record<string, string>>;
  /** The app's config vars: those of its newest release, also of one that failed. */
  appConfig(appId: string): Promise<Record<string, string>>;
  /**
   * Sets and (null) removes config vars by a new release, and returns all that there are then. A change that
   * changes nothing makes no release. `describe` names the release by what it set and removed.
   * @throws ApiError 422 when they would be larger than 64 KB
   */
  changeConfig(
    appId: string,
    actor: Actor,
    change: Record<string, string | null>,
    describe: (set: string[], removed: string[]) => string,
  ): Promise<Record<string, string>>;
  /** All releases, oldest first. */
  list(appId: string): Promise<Release[]>;
  /** By id or version (`3`, `v3`). @throws ApiError 404 */
  find(appId: string, idOrVersion: string): Promise<Release>;
  /** The release once its command has ended. */
  settled(release: Release): Promise<Release>;
  /** What its command printed from byte `from` on, followed while it runs; null before it starts. */
  output(releaseId: string, from?: number): Promise<Readable | null>;
  /** Ends as failed what an earlier control left pending. Call it once, before the formation starts. */
  start(): Promise<void>;
  /** The releases' rows are gone: frees what is kept of them on disk. */
  forget(releaseIds: readonly string[]): Promise<void>;
  /** Release commands under way are left; the next start ends them as failed. */
  stop(): Promise<void>;
}
