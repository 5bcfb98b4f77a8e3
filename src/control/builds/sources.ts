import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { randomSecret } from "../../config/environment.ts";
import { sha256 } from "../accounts.ts";
import { ApiError } from "../errors.ts";
import type { Queryable } from "../store/store.ts";

/** Bytes of a source archive, packed; unpacked it may have as many (design section 8.3). */
export const SOURCE_LIMIT = 1024 * 1024 * 1024;
/** How long a source may be put and got, in seconds; Heroku's URLs hold an hour. */
const LIFE_SECONDS = 3600;
const PATH = /^\/sources\/([0-9a-f-]{36})\/([\w-]{20,60})(?:\.tar\.gz)?$/;

export interface SourceFile {
  file: string;
  sha256: string;
  size: number;
}

/** Source archives that clients put, to be built from: a file each, reached by two capability paths. */
export class Sources {
  #folder: string;
  #store: Queryable;

  constructor(folder: string, store: Queryable) {
    this.#folder = folder;
    this.#store = store;
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await this.#sweep();
  }

  /** A new, empty source: the paths to put its archive to and to get it from. */
  async create(): Promise<{ putPath: string; getPath: string }> {
    void this.#sweep().catch(() => {});
    const id = randomUUID();
    const [put, get] = [randomSecret(), randomSecret()];
    await this.#store.query(
      `INSERT INTO capabilities (token_sha256, purpose, object_id, expires_at)
       SELECT token, purpose, $1, now() + $4 * interval '1 second'
       FROM unnest($2::bytea[], $3::text[]) AS t (token, purpose)`,
      [id, [sha256(put), sha256(get)], ["source_put", "source_get"], LIFE_SECONDS],
    );
    return { putPath: `/sources/${id}/${put}`, getPath: `/sources/${id}/${get}` };
  }

  /** @throws ApiError 404 when the path's token is not one for `purpose`, or has expired. */
  async #check(id: string, token: string, purpose: string): Promise<void> {
    const { rowCount } = await this.#store.query(
      "SELECT 1 FROM capabilities WHERE token_sha256 = $1 AND purpose = $2 AND object_id = $3 AND expires_at > now()",
      [sha256(token), purpose, id],
    );
    if (!rowCount)
      throw new ApiError(
        404,
        "not_found",
        "This source URL is not known, or has expired; make a new source.",
      );
  }

  /** Keeps an archive as it comes. @throws ApiError 404, or 413 when it is too large. */
  async put(id: string, token: string, body: Readable): Promise<void> {
    await this.#check(id, token, "source_put");
    const draft = path.join(this.#folder, `new-${randomUUID()}`);
    try {
      await pipeline(bounded(body, SOURCE_LIMIT), createWriteStream(draft, { flags: "wx", mode: 0o600 }));
      await rename(draft, this.#file(id));
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }

  /** The archive that this URL's path stands for; null when the path is not a source's. @throws ApiError 404 */
  async find(url: string): Promise<string | null> {
    const read = URL.canParse(url) ? PATH.exec(new URL(url).pathname) : null;
    if (!read) return null;
    return this.get(read[1]!, read[2]!);
  }

  /** File of a source's archive. @throws ApiError 404 when it was not put. */
  async get(id: string, token: string): Promise<string> {
    await this.#check(id, token, "source_get");
    const file = this.#file(id);
    await stat(file).catch(() => {
      throw new ApiError(
        404,
        "not_found",
        "Nothing was put to this source yet; put the .tar.gz to its put_url first.",
      );
    });
    return file;
  }

  #file(id: string): string {
    return path.join(this.#folder, `${id}.tar.gz`);
  }

  async #sweep(): Promise<void> {
    await this.#store.query("DELETE FROM capabilities WHERE expires_at < now()");
    for (const name of await readdir(this.#folder)) {
      const file = path.join(this.#folder, name);
      const age = Date.now() - (await stat(file).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
      if (age > 2 * LIFE_SECONDS * 1000) await rm(file, { force: true });
    }
  }
}

/** `body` until it passes `limit` bytes. @throws ApiError 413 */
export async function* bounded(body: Readable, limit: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit) {
      throw new ApiError(
        413,
        "request_too_large",
        `The archive has more than ${limit >> 20} MiB; leave out what the app does not need.`,
      );
    }
    yield chunk;
  }
}

/** Writes `body` to `file` and tells its size and SHA-256. @throws ApiError 413 */
export async function saveSource(body: Readable, file: string, limit = SOURCE_LIMIT): Promise<SourceFile> {
  const hash = createHash("sha256");
  let size = 0;
  await pipeline(
    bounded(body, limit),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        size += chunk.length;
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(file, { mode: 0o600 }),
  );
  return { file, size, sha256: hash.digest("hex") };
}

/** SHA-256 of a file, in hex. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest("hex");
}
