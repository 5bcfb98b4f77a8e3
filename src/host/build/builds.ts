import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import type { BuildCancel, BuildOrder, BuildResult, BuildSettle, Limits } from "../../wire/orders.ts";
import {
  APP_FORGET,
  type AppForget,
  BUILD_CANCEL,
  BUILD_ORDER,
  BUILD_RESULT,
  BUILD_SETTLE,
} from "../../wire/orders.ts";
import type { Box } from "../box/box.ts";
import type { BoxSpec } from "../box/spec.ts";
import type { HostContext, HostRoom } from "../context.ts";
import { removeTree } from "../removal.ts";
import { Workspace } from "./workspace.ts";

/** Heroku's path in build boxes (contract, section 5). */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Bounds of the box that packs the slug. */
const PACK_LIMITS: Limits = { memoryBytes: 512 * 1024 * 1024, processes: 16, cpuShares: 2 };
/** How long a packed tree waits for control to say what becomes of it. */
const SETTLE_MS = 10 * 60_000;

interface Running {
  order: BuildOrder;
  box: Box | null;
  /** Why it was ended from outside. */
  ended: { id: string; message: string } | null;
  /** Resolves when nothing of it is left but what is packed. */
  done: Promise<void>;
}

interface Packed {
  space: Workspace;
  /** The tree's files are the dynos' user's. */
  given: Promise<void>;
  timer: NodeJS.Timeout;
}

/** Builds on this machine: each in a box of its own, its tree packed by a second, fresh one. */
export class BuildRoom implements HostRoom {
  #context: HostContext;
  #running = new Map<string, Running>();
  #packed = new Map<string, Packed>();
  #caches: string;

  constructor(context: HostContext) {
    this.#context = context;
    this.#caches = path.join(context.layout.host, "build-cache");
  }

  builds(): string[] {
    return [...this.#running.keys()];
  }

  take(kind: number, message: unknown): boolean {
    switch (kind) {
      case BUILD_ORDER:
        void this.#build(message as BuildOrder);
        return true;
      case BUILD_CANCEL:
        void this.#end((message as BuildCancel).build, {
          id: "canceled",
          message: "The build was canceled.",
        });
        return true;
      case BUILD_SETTLE:
        void this.#settle(message as BuildSettle);
        return true;
      case APP_FORGET:
        this.#forget((message as AppForget).app).catch(() => {});
        // Others free what they have of the app, too.
        return false;
      default:
        return false;
    }
  }

  /** Frees what is kept for an app that was destroyed: its build under way, packed trees, its cache. */
  async #forget(app: string): Promise<void> {
    const reason = { id: "app_destroyed", message: "The app was destroyed while this build was under way." };
    for (const { order, done } of [...this.#running.values()]) {
      if (order.app !== app) continue;
      await this.#end(order.build, reason);
      await done;
    }
    for (const [build, { space }] of [...this.#packed]) {
      if (space.order.app === app) await this.#settle({ build, sha256: null });
    }
    await removeTree(this.#cacheOf(app));
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#running.keys()].map((build) =>
        this.#end(build, {
          id: "stopped",
          message: "Sluice was stopped while this build was under way; push again.",
        }),
      ),
    );
    for (const { space, given, timer } of this.#packed.values()) {
      clearTimeout(timer);
      await given.catch(() => {});
      await space.remove();
    }
  }

  #cacheOf(app: string): string {
    if (!/^[0-9a-f-]{36}$/.test(app)) throw new Error(`"${app}" is no app's id.`);
    return path.join(this.#caches, app);
  }

  async #end(build: string, reason: { id: string; message: string }): Promise<void> {
    const running = this.#running.get(build);
    if (!running) return;
    running.ended ??= reason;
    await running.box?.kill();
  }

  async #build(order: BuildOrder): Promise<void> {
    if (this.#running.has(order.build)) return;
    let onDone = (): void => {};
    const done = new Promise<void>((resolve) => {
      onDone = resolve;
    });
    const running: Running = { order, box: null, ended: null, done };
    this.#running.set(order.build, running);
    const timer = setTimeout(() => {
      const { timeoutSeconds: seconds } = order;
      const time = seconds % 60 ? `${seconds} seconds` : `${seconds / 60} minutes`;
      void this.#end(order.build, {
        id: "timeout",
        message: `The build did not end within ${time}; make it shorter.`,
      });
    }, order.timeoutSeconds * 1000);
    let result: BuildResult;
    try {
      result = await this.#make(order, running);
    } catch (error) {
      const reason = running.ended ?? {
        id: "box_failed",
        message: `The build could not be run: ${(error as Error).message}`,
      };
      result = { ...nothing(order), failure: { ...reason, shown: false } };
    }
    clearTimeout(timer);
    this.#running.delete(order.build);
    onDone();
    this.#context.send(BUILD_RESULT, result);
  }

  #stillWanted({ ended }: Running): void {
    if (ended) throw new Error(ended.message);
  }

  /** Runs a box to its end; `running.box` is it meanwhile, so that it can be ended. */
  async #run(running: Running, spec: BoxSpec): Promise<number> {
    this.#stillWanted(running);
    const box = await this.#context.boxes.start(spec);
    running.box = box;
    // Node stops reading a socket that it hands to a process; its end, control's, must still be seen.
    for (const stream of spec.stdio as unknown[]) if (stream instanceof net.Socket) stream.resume();
    if (running.ended) await box.kill();
    const end = await box.exited;
    await box.kill();
    running.box = null;
    await box.free();
    this.#stillWanted(running);
    if (end.fault) throw new Error(end.fault);
    return end.status;
  }

  async #make(order: BuildOrder, running: Running): Promise<BuildResult> {
    const { slugs, openStream, config, layout } = this.#context;
    const cache = this.#cacheOf(order.app);
    const output = await openStream(order.output);
    const lost = (): void =>
      void this.#end(order.build, {
        id: "control_gone",
        message: "Control went away while this build was under way.",
      });
    // Control says nothing on this stream: its end means that nobody waits for the build any more.
    output.on("error", lost).on("close", lost).on("end", lost).resume();
    const close = (): void => {
      output.off("error", lost).off("close", lost).off("end", lost);
      output.on("error", () => {});
      output.end();
    };
    const space = new Workspace(await slugs.workFolder(), order);
    let kept = false;
    try {
      await space.lay(cache, config.buildpackPath);
      await space.fill(openStream);
      await this.#run(running, {
        id: `build-${order.build}`,
        uid: order.uid,
        gid: order.uid,
        lower: null,
        mounts: space.mounts(order.operatorEnv, layout.home),
        env: {
          ...order.operatorEnv,
          PATH,
          HOME: "/app",
          STACK: order.stack,
          DYNO: `run.${1000 + (Number.parseInt(order.build.slice(0, 4), 16) % 9000)}`,
          REQUEST_ID: order.requestId,
          SOURCE_VERSION: order.sourceVersion,
          BUILDPACK_LOG_FILE: "/dev/null",
        },
        cwd: "/tmp",
        argv: ["bash", "/run/build/build.sh"],
        stdio: ["null", output, output],
        limits: order.limits,
        network: "own",
        hostname: "build",
      });
      close();
      const records = await space.records();
      const result = read(order, records);
      if (result.ok && !space.isWhole()) {
        return {
          ...result,
          ok: false,
          failure: { id: "box_failed", message: "The build removed the app's folder.", shown: false },
        };
      }
      if (!result.ok) return result;
      const newest = Number(records.find(([kind]) => kind === "time")?.[2]) || 0;
      await this.#pack(order, running, space, order.clampTime || newest);
      // While control still keeps the slug: what follows is that it becomes this, or is removed.
      const given = slugs.give(space.tree, order.dynoUid);
      given.catch(() => {});
      await space.keepCache(cache);
      const timer = setTimeout(() => void this.#settle({ build: order.build, sha256: null }), SETTLE_MS);
      timer.unref();
      this.#packed.set(order.build, { space, given, timer });
      kept = true;
      return result;
    } finally {
      close();
      if (!kept) await space.remove();
    }
  }

  /** Packs the tree, rooted at ./app, straight into control's stream: sorted, times clamped, owners 0. */
  async #pack(order: BuildOrder, running: Running, space: Workspace, clamp: number): Promise<void> {
    const slug: net.Socket = await this.#context.openStream(order.slug);
    slug.on("error", () => {});
    const faults = path.join(space.work, "pack-faults");
    await mkdir(faults);
    const handle = await open(path.join(faults, "tar"), constants.O_CREAT | constants.O_RDWR, 0o600);
    try {
      const status = await this.#run(running, {
        id: `pack-${order.build}`,
        uid: order.uid,
        gid: order.uid,
        lower: null,
        mounts: [{ source: space.tree, target: "/slug/app", writable: false }],
        env: { PATH, LC_ALL: "C" },
        cwd: "/slug",
        argv: [
          "tar",
          "--create",
          "--file=-",
          "--format=gnu",
          "--sort=name",
          "--owner=0",
          "--group=0",
          "--numeric-owner",
          `--mtime=@${clamp}`,
          "--clamp-mtime",
          "--blocking-factor=256",
          "./app",
        ],
        stdio: ["null", slug, handle.fd],
        limits: PACK_LIMITS,
        network: "none",
        hostname: "pack",
      });
      if (status !== 0) {
        const words = (await handle.read(Buffer.alloc(300), 0, 300, 0)).buffer
          .toString("utf8")
          .split("\n")[0];
        throw new Error(
          `the slug could not be packed: ${words?.replaceAll("\0", "").trim() || `tar ended with ${status}`}`,
        );
      }
    } finally {
      await handle.close();
      slug.end();
    }
  }

  /** Makes the tree the slug's lower layer, or drops it. */
  async #settle({ build, sha256 }: BuildSettle): Promise<void> {
    const packed = this.#packed.get(build);
    if (!packed) return;
    this.#packed.delete(build);
    clearTimeout(packed.timer);
    const { space, given } = packed;
    const { dynoUid } = space.order;
    if (sha256) await this.#context.slugs.adopt(space.tree, sha256, dynoUid, given).catch(() => {});
    else await given.catch(() => {});
    await space.remove();
  }
}

const nothing = (order: BuildOrder): BuildResult => ({
  build: order.build,
  ok: false,
  failure: null,
  detected: null,
  buildpacks: [],
  processTypes: {},
  configVars: {},
});

/** What the build told, as a result; a build that told no end has failed. */
function read(order: BuildOrder, records: [string, string, string][]): BuildResult {
  const result = nothing(order);
  for (const [kind, key, value] of records) {
    if (kind === "type" && /^[A-Za-z0-9_-]{1,128}$/.test(key) && value) result.processTypes[key] = value;
    else if (kind === "config" && /^\w+$/.test(key)) result.configVars[key] = value;
    else if (kind === "buildpack") {
      result.buildpacks.push(key);
      result.detected = value.split("\n")[0] || null;
    } else if (kind === "failure") {
      result.failure ??= { id: key, message: value.slice(0, 1000), shown: true };
    } else if (kind === "done") {
      result.ok = true;
    }
  }
  if (result.failure) result.ok = false;
  else if (!result.ok) {
    result.failure = {
      id: "build_ended",
      message: "The build was ended before it was done; it may have run out of memory.",
      shown: false,
    };
  }
  return result;
}
