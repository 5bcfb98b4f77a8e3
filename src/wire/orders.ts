import { FIRST_OWN_KIND } from "./feed.ts";

/** Bounds of one box. */
export interface Limits {
  /** The size's memory; R14 above it. The kernel's limit is twice this. */
  memoryBytes: number;
  processes: number;
  /** Relative share; 1 is a Basic dyno. */
  cpuShares: number;
}

/** A slug as the host needs it: it asks for the bytes by opening stream `slug:<sha256>` when it has no copy. */
export interface OrderSlug {
  id: string;
  /** Hex, of the compressed archive; checked at every unpack. */
  sha256: string;
  /** Compressed bytes. */
  size: number;
}

/** A terminal or pipe that a one-off dyno is attached to. */
export interface Attachment {
  /** Stream id: the host opens it when the box runs; raw bytes both ways. */
  stream: string;
  /** A pseudo-terminal, or plain pipes in which byte 0x04 ends the input. */
  terminal: boolean;
  columns: number;
  lines: number;
}

/**
 * Record of the orders feed, keyed by dyno id: this dyno shall run. A key removed: it shall stop (SIGTERM,
 * 30 s, SIGKILL). The host keeps a `formation` dyno running by itself, crash back-off included, so dynos come
 * back while control is away; a `run` or `release` dyno runs once.
 */
export interface DynoOrder {
  dyno: string;
  kind: "formation" | "run" | "release";
  app: string;
  appName: string;
  /** `web.1`, `run.1234`, `release.7` */
  name: string;
  type: string;
  command: string;
  /** Release number, for HEROKU_RELEASE_VERSION and the logs. */
  version: number;
  slug: OrderSlug | null;
  /** `heroku-22` or `heroku-24`. */
  stack: string;
  /** The app's user id for dynos. */
  uid: number;
  /** Config vars and the platform's own, but for PORT, DYNO, HOME, PATH, which the host sets. */
  env: Record<string, string>;
  size: string;
  limits: Limits;
  /** A web dyno is up when it listens on its PORT; the others once started. */
  listens: boolean;
  /** Seconds to bind PORT before R10. */
  bootSeconds: number;
  attach: Attachment | null;
  /** Seconds a one-off may run; 0: no bound. */
  timeToLive: number;
  /** App feature `log-runtime-metrics`: load and memory lines every 20 s (contract, section 3). Read at the dyno's start. */
  metrics?: boolean;
}

export type DynoState = "starting" | "up" | "idle" | "crashed" | "down" | "complete";

/** Host to control: a dyno changed state. Also sent for each dyno, with `inventory` true, after the link opens. */
export const DYNO_REPORT = FIRST_OWN_KIND;
export interface DynoReport {
  dyno: string;
  app: string;
  state: DynoState;
  /** Where it listens; null until it runs. */
  address: string | null;
  port: number | null;
  /** Exit status of the last end; 128 + signal for a signal. */
  status: number | null;
  /** `R10`, `R15`, `R17` or null. */
  reason: string | null;
  /** Times it was started again after a crash. */
  restarts: number;
  memoryBytes: number | null;
  /** Microseconds since the epoch. */
  at: number;
}
/** Host to control after the link opened: the reports of everything it has, in one message. */
export const HOST_INVENTORY = FIRST_OWN_KIND + 1;
export interface HostInventory {
  machine: string;
  /** Address by which control and edges reach this machine. */
  address: string;
  dynos: DynoReport[];
  /** Builds still under way here. */
  builds: string[];
  /** What this machine's boxes lack, in words; empty when everything is on. */
  missing: string[];
}
/** Control to host: start the dyno again by hand (a new instance, back-off reset). */
export const DYNO_RESTART = FIRST_OWN_KIND + 2;
export interface DynoRestart {
  dyno: string;
}
/** Control to host: the size of an attached terminal changed, or a signal for its processes. */
export const DYNO_SIGNAL = FIRST_OWN_KIND + 3;
export interface DynoSignal {
  dyno: string;
  signal?: "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGKILL";
  columns?: number;
  lines?: number;
}

/** One buildpack of a build, in order. Its files come over stream `stream` as a tar; the shipped ones have `shipped` instead. */
export interface BuildBuildpack {
  /** As shown: `heroku/nodejs`, or the URL. */
  name: string;
  shipped: string | null;
  stream: string | null;
}

/** Control to host: run one build in a box. */
export const BUILD_ORDER = FIRST_OWN_KIND + 4;
export interface BuildOrder {
  build: string;
  app: string;
  appName: string;
  /** The app's user id for builds, and the one that the slug's tree is given to. */
  uid: number;
  dynoUid: number;
  stack: string;
  /** Config vars, one file each in ENV_DIR. */
  env: Record<string, string>;
  /** The operator's own: npm_config_*, PIP_*, proxies, NODE_EXTRA_CA_CERTS. */
  operatorEnv: Record<string, string>;
  sourceVersion: string;
  requestId: string;
  /** Set by the user, in order; empty: detect among the shipped ones. */
  buildpacks: BuildBuildpack[];
  /** Streams that the host opens: source tar in (plain tar), output text out, slug tar out (plain tar, rooted at ./app). */
  source: string;
  output: string;
  slug: string;
  /** Seconds since the epoch that file times are clamped to. */
  clampTime: number;
  timeoutSeconds: number;
  clearCache: boolean;
  limits: Limits;
}
export const BUILD_CANCEL = FIRST_OWN_KIND + 5;
export interface BuildCancel {
  build: string;
}
/** Host to control: the build has ended, its box is gone. */
export const BUILD_RESULT = FIRST_OWN_KIND + 6;
export interface BuildResult {
  build: string;
  ok: boolean;
  /** Stable id of the failure (`no_buildpack`, `compile_failed`, `procfile_invalid`, `timeout`, …) and its sentence. */
  failure: {
    id: string;
    message: string /** Its sentence stands in the output already. */;
    shown: boolean;
  } | null;
  /** Name that bin/detect printed (`Node.js`); null when none fitted. */
  detected: string | null;
  buildpacks: string[];
  processTypes: Record<string, string>;
  /** config_vars of bin/release, set only where the app has none of that name at its first deploy. */
  configVars: Record<string, string>;
}
/** Control to host, after it has hashed and kept the slug: the finished tree of `build` is slug `sha256`; keep it as the lower layer, or drop it (null). */
export const BUILD_SETTLE = FIRST_OWN_KIND + 7;
export interface BuildSettle {
  build: string;
  sha256: string | null;
}
/** Control to host: run a fetch (git or curl) in a box on the machine's network, its output tar to `stream`. */
export const FETCH_ORDER = FIRST_OWN_KIND + 8;
export interface FetchOrder {
  fetch: string;
  kind: "git" | "tarball";
  url: string;
  /** Branch, tag or commit; null: the default branch. */
  ref: string | null;
  /** Plain tar of the tree. */
  stream: string;
  /** URL, with its password, of control's egress proxy. */
  proxy: string;
  timeoutSeconds: number;
}
export const FETCH_RESULT = FIRST_OWN_KIND + 9;
export interface FetchResult {
  fetch: string;
  ok: boolean;
  message: string | null;
  /** The commit that a git fetch took. */
  commit: string | null;
}
/** Control to host: free what is kept for an app that was destroyed. */
export const APP_FORGET = FIRST_OWN_KIND + 10;
export interface AppForget {
  app: string;
  uids: number[];
}
