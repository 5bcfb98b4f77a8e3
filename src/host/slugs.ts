import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { chown, mkdir, rename } from "node:fs/promises";
import type net from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import { LRUCache } from "lru-cache";
import type { OrderSlug } from "../wire/orders.ts";
import type { Boxes } from "./box/boxes.ts";
import { removeTree } from "./removal.ts";

const run = promisify(execFile);

/** Extracted slugs kept though no dyno stands on them, so that a rollback or restart needs no unpacking. */
const UNUSED_SLUGS = Number(process.env.SLUICE_SLUG_CACHE) || 20;
const SHA256_DIGITS = 64;
/** Bounds of the box that unpacks. */
const UNPACK_LIMITS = { memoryBytes: 512 * 1024 * 1024, processes: 32, cpuShares: 1 };
/** A slug that takes longer than this to come and be unpacked never will. */
const UNPACK_SECONDS = 300;

/** R17: the bytes that came are not the slug that was ordered. */
export class ChecksumError extends Error {
  override name = "ChecksumError";
  readonly expected: string;
  readonly actual: string;
  constructor(expected: string, actual: string) {
    super(`Expected: SHA256:${expected} Actual: SHA256:${actual}`);
    this.expected = expected;
    this.actual = actual;
  }
}

/**
 * The extracted slugs of this machine: `<host>/slugs/<sha256>-<uid>/app`, the read-only lower layer of the
 * dynos of one app. Those that dynos stand on stay; of the others the last used are kept.
 */
export class Slugs {
  #folder: string;
  #boxes: Boxes;
  #openStream: (id: string) => Promise<net.Socket>;
  #used = new Map<string, number>();
  #coming = new Map<string, Promise<void>>();
  #unused: LRUCache<string, true>;
  /** Held still, by dynos of an app that was destroyed: not kept once they have ended. */
  #unwanted = new Set<string>();

  /** @param folder on the file system of the boxes' folder; made when it is not there. */
  constructor(folder: string, boxes: Boxes, openStream: (id: string) => Promise<net.Socket>) {
    this.#folder = folder;
    this.#boxes = boxes;
    this.#openStream = openStream;
    this.#unused = new LRUCache<string, true>({
      max: UNUSED_SLUGS,
      dispose: (_value, key, reason) => {
        if (reason === "evict") this.#drop(key);
      },
    });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      if (/^[0-9a-f]{64}-\d+$/.test(name)) this.#unused.set(name, true);
      else removeTree(path.join(folder, name)).catch(() => {});
    }
  }

  #key(sha256: string, uid: number): string {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error(`"${sha256}" is no SHA-256.`);
    return `${sha256}-${uid}`;
  }

  #drop(key: string): void {
    const gone = path.join(this.#folder, `.gone-${randomBytes(8).toString("hex")}`);
    try {
      renameSync(path.join(this.#folder, key), gone);
    } catch {
      return;
    }
    removeTree(gone).catch(() => {});
  }

  /** A folder on the slugs' file system, made for one use: a build's tree that shall be adopted lies in it. */
  async workFolder(): Promise<string> {
    const folder = path.join(this.#folder, `.work-${randomBytes(8).toString("hex")}`);
    await mkdir(folder, { mode: 0o755 });
    return folder;
  }

  /** Gives a tree in which no process runs any more to `uid`, for `adopt`. */
  async give(tree: string, uid: number): Promise<void> {
    if (process.getuid?.() === 0) await run("chown", ["-hR", `${uid}:${uid}`, tree]);
  }

  /**
   * Takes the finished tree of a build as slug `sha256`, so that it need not be unpacked again: renamed. No
   * process may run in it any more. Where the slug is there already the tree is removed.
   * @param tree folder whose content is the app's (what dynos see at /app), best below `workFolder()`.
   * @param given of `give`, to the same `uid`.
   */
  async adopt(tree: string, sha256: string, uid: number, given: Promise<void>): Promise<void> {
    const key = this.#key(sha256, uid);
    const folder = path.join(this.#folder, key);
    if (existsSync(folder) || this.#coming.has(key)) {
      await given.catch(() => {});
      await removeTree(tree);
      return;
    }
    const adopting = (async () => {
      const fresh = await this.workFolder();
      await given;
      await rename(tree, path.join(fresh, "app"));
      await rename(fresh, folder);
    })();
    this.#coming.set(key, adopting);
    try {
      await adopting;
      if (!this.#used.has(key)) this.#unused.set(key, true);
    } finally {
      this.#coming.delete(key);
    }
  }

  /** True when this machine has the slug unpacked for `uid`. */
  has(sha256: string, uid: number): boolean {
    return existsSync(path.join(this.#folder, this.#key(sha256, uid)));
  }

  /** Holds the slug of a box that an earlier life of the host started; returns whether it is there. */
  hold(sha256: string, uid: number): boolean {
    const key = this.#key(sha256, uid);
    this.#unused.delete(key);
    this.#used.set(key, (this.#used.get(key) ?? 0) + 1);
    return existsSync(path.join(this.#folder, key));
  }

  /**
   * The folder whose `app/` is the slug, unpacked from control's stream when it is not here; held until
   * `release` is called as often as this.
   * @throws ChecksumError when the bytes are not those of `slug.sha256`.
   */
  async ensure(slug: Pick<OrderSlug, "sha256" | "size">, uid: number): Promise<string> {
    const key = this.#key(slug.sha256, uid);
    const folder = path.join(this.#folder, key);
    this.hold(slug.sha256, uid);
    this.#unwanted.delete(key);
    try {
      await this.#coming.get(key);
      if (!existsSync(folder)) {
        const coming = this.#coming.get(key) ?? this.#unpack(slug, uid, folder);
        this.#coming.set(key, coming);
        await coming.finally(() => this.#coming.delete(key));
      }
      return folder;
    } catch (error) {
      this.release(slug.sha256, uid);
      throw error;
    }
  }

  /** Lets a slug go that `ensure` or `hold` gave. */
  release(sha256: string, uid: number): void {
    const key = this.#key(sha256, uid);
    const count = (this.#used.get(key) ?? 0) - 1;
    if (count > 0) this.#used.set(key, count);
    else {
      this.#used.delete(key);
      if (this.#unwanted.delete(key)) this.#drop(key);
      else if (existsSync(path.join(this.#folder, key))) this.#unused.set(key, true);
    }
  }

  /** Removes the slugs of user ids, after their app was destroyed: at once, or when its last dyno has ended. */
  forget(uids: number[]): void {
    const theirs = (key: string): boolean => uids.includes(Number(key.slice(SHA256_DIGITS + 1)));
    for (const key of [...this.#unused.keys()].filter(theirs)) {
      this.#unused.delete(key);
      this.#drop(key);
    }
    for (const key of [...this.#used.keys()].filter(theirs)) this.#unwanted.add(key);
  }

  async #unpack(slug: Pick<OrderSlug, "sha256" | "size">, uid: number, folder: string): Promise<void> {
    const fresh = await this.workFolder();
    let box: Awaited<ReturnType<Boxes["start"]>> | null = null;
    const socket = await this.#openStream(`slug:${slug.sha256}`);
    try {
      if (process.getuid?.() === 0) await chown(fresh, uid, uid);
      box = await this.#boxes.start({
        id: `unpack-${randomBytes(8).toString("hex")}`,
        uid,
        gid: uid,
        lower: null,
        mounts: [{ source: fresh, target: "/slug", writable: true }],
        env: { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C.UTF-8" },
        cwd: "/slug",
        // The archive is one that a build of ours made; tar itself refuses absolute names and `..`.
        argv: ["tar", "-xzf", "-", "--no-same-owner", "--delay-directory-restore", "./app"],
        stdio: ["pipe", "null", "null"],
        limits: UNPACK_LIMITS,
        network: "none",
        hostname: "unpack",
      });
      const hash = createHash("sha256");
      const stdin = box.pipes.stdin;
      let bytes = 0;
      const timer = setTimeout(
        () => socket.destroy(new Error("The slug did not come in time.")),
        UNPACK_SECONDS * 1000,
      );
      try {
        for await (const chunk of socket as AsyncIterable<Buffer>) {
          hash.update(chunk);
          bytes += chunk.length;
          if (bytes > slug.size) break;
          if (stdin?.writable && !stdin.write(chunk)) {
            await Promise.race([new Promise((resolve) => stdin.once("drain", resolve)), box.exited]);
          }
        }
      } finally {
        clearTimeout(timer);
      }
      const actual = hash.digest("hex");
      if (actual !== slug.sha256) throw new ChecksumError(slug.sha256, actual);
      stdin?.end();
      const end = await box.exited;
      if (end.status !== 0)
        throw new Error(`The slug cannot be unpacked (tar ended with status ${end.status}).`);
      await box.free();
      box = null;
      if (process.getuid?.() === 0) await chown(fresh, 0, 0);
      await rename(fresh, folder);
    } catch (error) {
      if (box) {
        await box.kill();
        await box.free();
      }
      removeTree(fresh).catch(() => {});
      throw error;
    } finally {
      socket.destroy();
    }
  }
}
