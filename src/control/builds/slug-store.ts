import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Queryable } from "../store/store.ts";
import { type Piece, TarCutter } from "./tar-pieces.ts";

const compress = promisify(gzip);

/** Bounds of a slug: packed (Heroku's), unpacked and in entries (design section 8.3). */
const SLUG_PACKED_LIMIT = 500 * 1024 * 1024;
export const SLUG_UNPACKED_LIMIT = 3 * 1024 * 1024 * 1024;
export const SLUG_ENTRIES_LIMIT = 200_000;
/** A piece below this is compressed faster than its member is looked for. */
const KEPT_PIECE = 32 * 1024;
/** Bytes written between two calls to bring them to disk, so that the last one has little left to do. */
const SYNC_EVERY = 8 * 1024 * 1024;
/** Pieces looked up or compressed at a time; more cost memory and gained nothing. */
const PIECES_AT_A_TIME = 2;
/** Bytes of kept members; beyond, those unused for longest go. */
const MEMBERS_LIMIT = 2 * 1024 * 1024 * 1024;
/** zlib's levels: programs and pictures gain little from more. */
const MIXED_LEVEL = 6;
const LARGE_LEVEL = 4;
/** Bytes hashed in one go on the event loop. */
const HASH_STEP = 1024 * 1024;

export interface KeptSlug {
  /** Hex, of the compressed archive. */
  sha256: string;
  size: number;
}

/** The archive that came out is larger than a slug may be. */
export class SlugTooLarge extends Error {
  override name = "SlugTooLarge";
  readonly size: number;
  readonly limit: number;
  constructor(size: number, limit: number) {
    super(`The slug has ${size} bytes; at most ${limit} are taken.`);
    this.size = size;
    this.limit = limit;
  }
}

/**
 * Slugs on disk, each a .tar.gz under the SHA-256 of its bytes. A .tar.gz may be several gzip members one
 * after the other (RFC 1952, section 2.2), so members of pieces that do not change are kept and used again.
 */
export class SlugStore {
  #slugs: string;
  #members: string;
  #limit: number;
  /** How many have packed an archive and have not written its row yet, by SHA-256. */
  #unnamed = new Map<string, number>();

  /** @param limit bytes of a packed slug. */
  constructor(slugs: string, members: string, limit = SLUG_PACKED_LIMIT) {
    this.#slugs = slugs;
    this.#members = members;
    this.#limit = limit;
  }

  /** Removes what an ended control left half-written. */
  async open(): Promise<void> {
    await mkdir(this.#slugs, { recursive: true });
    await mkdir(this.#members, { recursive: true, mode: 0o700 });
    for (const folder of [this.#slugs, this.#members]) {
      for (const name of await readdir(folder)) {
        if (name.startsWith("new-")) await rm(path.join(folder, name), { force: true });
      }
    }
    await this.#pruneMembers();
  }

  fileOf(sha256: string): string {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error("not a SHA-256");
    return path.join(this.#slugs, sha256);
  }

  has(sha256: string): Promise<boolean> {
    return stat(this.fileOf(sha256)).then(
      () => true,
      () => false,
    );
  }

  read(sha256: string): Readable {
    return createReadStream(this.fileOf(sha256), { highWaterMark: 256 * 1024 });
  }

  /**
   * Compresses a plain tar and keeps it: bounds are held while it comes.
   * @throws TarError, SlugTooLarge
   */
  async pack(tar: Readable): Promise<KeptSlug> {
    const cutter = new TarCutter({ bytes: SLUG_UNPACKED_LIMIT, entries: SLUG_ENTRIES_LIMIT });
    return this.#keep(
      mapAhead(cut(tar, cutter), PIECES_AT_A_TIME, (piece) => this.#member(piece)),
      true,
    );
  }

  /** Keeps an archive that is compressed already (a slug put over the API). @throws SlugTooLarge */
  keep(archive: AsyncIterable<Buffer>): Promise<KeptSlug> {
    return this.#keep(archive, false);
  }

  async #member({ parts, size, large, digest }: Piece): Promise<Buffer> {
    const level = large ? LARGE_LEVEL : MIXED_LEVEL;
    const bytes = (): Buffer => (parts.length === 1 ? parts[0]! : Buffer.concat(parts, size));
    if (size < KEPT_PIECE) return compress(bytes(), { level });
    const file = path.join(this.#members, digest);
    const kept = await readFile(file).catch(() => null);
    if (kept) {
      const now = new Date();
      void utimes(file, now, now).catch(() => {});
      return kept;
    }
    const member = await compress(bytes(), { level });
    const draft = path.join(this.#members, `new-${randomUUID()}`);
    // Kept for speed only: a full disk here must not fail the build.
    await writeFile(draft, member)
      .then(() => rename(draft, file))
      .catch(() => rm(draft, { force: true }));
    return member;
  }

  async #keep(chunks: AsyncIterable<Buffer>, bounded: boolean): Promise<KeptSlug> {
    const draft = path.join(this.#slugs, `new-${randomUUID()}`);
    const handle = await open(draft, "wx", 0o600);
    const hash = createHash("sha256");
    let size = 0;
    let synced = 0;
    let syncing: Promise<void> | null = null;
    let fault: Error | null = null;
    try {
      for await (const chunk of chunks) {
        size += chunk.length;
        // A build's slug is counted to its end, so that the pusher learns how large it is.
        if (size > this.#limit && !bounded) throw new SlugTooLarge(size, this.#limit);
        if (size > this.#limit) continue;
        for (let at = 0; at < chunk.length; at += HASH_STEP) hash.update(chunk.subarray(at, at + HASH_STEP));
        await handle.write(chunk);
        if (size - synced < SYNC_EVERY || syncing) continue;
        synced = size;
        syncing = handle
          .datasync()
          // The kernel tells a failed write once; it must not be lost with this call.
          .catch((error: Error) => {
            fault = error;
          })
          .then(() => {
            syncing = null;
          });
      }
      await syncing;
      if (fault) throw fault;
      if (size > this.#limit) throw new SlugTooLarge(size, this.#limit);
      await handle.datasync();
      await handle.close();
      const sha256 = hash.digest("hex");
      this.#unnamed.set(sha256, (this.#unnamed.get(sha256) ?? 0) + 1);
      await rename(draft, this.fileOf(sha256));
      return { sha256, size };
    } catch (error) {
      await syncing;
      await handle.close().catch(() => {});
      await rm(draft, { force: true });
      throw error;
    }
  }

  /** Who was given a KeptSlug has written the row that names it, or never will: a sweep may look at it again. */
  settle(sha256: string): void {
    const others = (this.#unnamed.get(sha256) ?? 1) - 1;
    if (others > 0) this.#unnamed.set(sha256, others);
    else this.#unnamed.delete(sha256);
  }

  /** Removes slugs that no row names any more. */
  async sweep(store: Queryable): Promise<void> {
    // Before the rows are read: what is settled meanwhile has its row by then, or none.
    const unnamed = new Set(this.#unnamed.keys());
    const names = (await readdir(this.#slugs)).filter((name) => /^[0-9a-f]{64}$/.test(name));
    const { rows } = await store.query<{ sha256: string }>(
      "SELECT DISTINCT sha256 FROM slugs WHERE sha256 = ANY($1)",
      [names],
    );
    const named = new Set(rows.map((row) => row.sha256));
    for (const name of names) {
      if (named.has(name) || unnamed.has(name) || this.#unnamed.has(name)) continue;
      await rm(this.fileOf(name), { force: true });
    }
  }

  async #pruneMembers(): Promise<void> {
    const files: { file: string; size: number; used: number }[] = [];
    for (const name of await readdir(this.#members)) {
      const file = path.join(this.#members, name);
      const { size, mtimeMs } = await stat(file);
      files.push({ file, size, used: mtimeMs });
    }
    files.sort((a, b) => b.used - a.used);
    let total = 0;
    for (const { file, size } of files) {
      total += size;
      if (total > MEMBERS_LIMIT) await rm(file, { force: true });
    }
  }
}

async function* cut(tar: Readable, cutter: TarCutter): AsyncGenerator<Piece> {
  for await (const chunk of tar) yield* cutter.push(chunk);
  yield* cutter.end();
}

/**
 * Maps `items` in their order. Items are taken while the caller is busy with earlier ones, until `ahead` are
 * mapped or under way: whoever makes them need not wait for the disk.
 */
async function* mapAhead<T, R>(
  items: AsyncIterable<T>,
  ahead: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = [];
  let left = false;
  let filled = false;
  // Each side waits for the other's next step.
  let wakeTaker = (): void => {};
  let wakeFiller = (): void => {};
  const filling = (async () => {
    try {
      for await (const item of items) {
        const mapping = map(item);
        // A rejection is met when its turn comes.
        mapping.catch(() => {});
        underWay.push(mapping);
        wakeTaker();
        while (underWay.length >= ahead && !left) {
          await new Promise<void>((resolve) => {
            wakeFiller = resolve;
          });
        }
        if (left) return;
      }
    } finally {
      filled = true;
      wakeTaker();
    }
  })();
  filling.catch(() => {});
  try {
    while (!filled || underWay.length > 0) {
      const next = underWay.shift();
      wakeFiller();
      if (next) yield await next;
      else {
        await new Promise<void>((resolve) => {
          wakeTaker = resolve;
        });
      }
    }
    await filling;
  } finally {
    left = true;
    wakeFiller();
    await Promise.allSettled(underWay);
  }
}
