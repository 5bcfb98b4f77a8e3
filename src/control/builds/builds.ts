import type { Readable } from "node:stream";
import type { Actor } from "../releases/releases.ts";
import type { SlugStore } from "./slug-store.ts";
import type { Sources } from "./sources.ts";

export interface BuildRequest {
  appId: string;
  actor: Actor;
  /** Plain tar of the tree, or the URL of a .tar.gz. */
  source: { tar: Readable; clampTime: number } | { url: string; checksum: string | null };
  /** Commit or version; SOURCE_VERSION and `Deploy …`. */
  version: string | null;
  versionDescription: string | null;
  /** For this build only; null: the app's own list. */
  buildpacks: string[] | null;
  clearCache?: boolean;
}

export interface BuildOutcome {
  ok: boolean;
  releaseVersion: number | null;
  message: string | null;
  /** It has a release command, whose end the output tells after the deploy's. */
  releaseCommand: boolean;
}

/** A build under way: its row exists, its output grows. */
export interface BuildUnderWay {
  id: string;
  done: Promise<BuildOutcome>;
  /** Everything printed so far and what is still to come; ends when the build does. */
  output(): Readable;
}

/** Turns sources into slugs: one build an app at a time, a bound over all. */
export interface Builds {
  /** Slug archives on disk. */
  readonly slugs: SlugStore;
  /** Source archives that clients put. */
  readonly sources: Sources;
  /** @throws ApiError when a buildpack or the source cannot be. */
  start(request: BuildRequest): Promise<BuildUnderWay>;
  /** The build's output from byte `from` on, following it while it runs; null when unknown. */
  output(buildId: string, from?: number): Promise<Readable | null>;
  /** Ends a build that waits or runs; one that has ended stays as it is. */
  cancel(buildId: string): Promise<void>;
  /** The next build of the app starts with an empty cache. */
  clearCache(appId: string): void;
  /** The app's rows are gone: ends its builds and removes its repository, outputs and the slug files that nothing names any more. May be called again. */
  forget(appId: string): Promise<void>;
  /** Takes no more builds, and ends those under way as failed. */
  stop(): Promise<void>;
}
