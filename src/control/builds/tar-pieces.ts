import { createHash, type Hash } from "node:crypto";

/*
 * Cuts a slug's tar into pieces that are compressed on their own, so that what seldom changes is compressed
 * once. A tar is a list of entries, each a head of 512 bytes and its data, padded to 512:
 *
 *   | heads and data of small entries ... head of a large one | its data, 2 MiB at a time | small ones ... |
 *   |<----- a mixed piece ----->|<---- a mixed piece -------->|<- a large piece ->|<- .. ->|<- mixed ------>
 *
 * The head of a large entry, with its time and name, goes into the mixed piece before it, so a large piece is
 * the same bytes in every slug that holds that file. Where a mixed piece ends depends on the entries' names
 * alone, not on what lies before them: after a change, the next such name begins the same pieces again.
 */

const BLOCK = 512;
/** Data of an entry from this size on makes pieces of its own. */
const LARGE_ENTRY = 1024 * 1024;
/** Bytes of a piece, at most: what one compression holds in memory. */
const LARGE_PIECE = 2 * 1024 * 1024;
const MIXED_PIECE = 2 * 1024 * 1024;
/** A mixed piece has at least so many bytes before an entry's name may end it... */
const MIXED_LEAST = 64 * 1024;
/** ...and one name of so many does: with npm's files that makes pieces of 300 KiB. */
const CUT_EVERY = 32;

export interface Piece {
  /** Its bytes in order. */
  parts: Buffer[];
  size: number;
  /** Data of a large file. */
  large: boolean;
  /** SHA-256 of its bytes, in hex. */
  digest: string;
}

export interface TarBounds {
  bytes: number;
  entries: number;
}

/** A tar that is no tar, or one beyond its bounds; the message says which. */
export class TarError extends Error {
  override name = "TarError";
  readonly id: string;
  constructor(id: string, message: string) {
    super(message);
    this.id = id;
  }
}

export class TarCutter {
  #bounds: TarBounds;
  #parts: Buffer[] = [];
  #size = 0;
  /** Of the large piece under way: hashed as it comes, so that no large step is ever taken at once. */
  #hash: Hash | null = null;
  #head = Buffer.alloc(BLOCK);
  #headSize = 0;
  /** Data bytes of the entry under way still to come, padding included. */
  #rest = 0;
  #inLarge = false;
  #ended = false;
  bytes = 0;
  entries = 0;

  constructor(bounds: TarBounds) {
    this.#bounds = bounds;
  }

  get #limit(): number {
    return this.#inLarge ? LARGE_PIECE : MIXED_PIECE;
  }

  /** Takes bytes of the tar and gives the pieces that they completed. @throws TarError */
  push(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    this.bytes += chunk.length;
    if (this.bytes > this.#bounds.bytes) {
      throw new TarError(
        "slug_too_large",
        `The slug has more than ${Math.round(this.#bounds.bytes / 2 ** 20)} MiB unpacked.`,
      );
    }
    let at = 0;
    while (at < chunk.length) {
      if (this.#rest > 0) {
        // To the byte, whatever chunks the tar comes in: the same tree gives the same slug.
        const take = Math.min(this.#rest, chunk.length - at, this.#limit - this.#size);
        this.#keep(chunk.subarray(at, at + take), pieces);
        this.#rest -= take;
        at += take;
        if (this.#rest === 0 && this.#inLarge) {
          this.#endPiece(pieces);
          this.#inLarge = false;
        }
        continue;
      }
      const take = Math.min(BLOCK - this.#headSize, chunk.length - at);
      chunk.copy(this.#head, this.#headSize, at, at + take);
      this.#headSize += take;
      at += take;
      if (this.#headSize === BLOCK) this.#takeHead(pieces);
    }
    return pieces;
  }

  /** The pieces that are left when the tar has ended. @throws TarError when it was cut short. */
  end(): Piece[] {
    if (!this.#ended || this.#rest > 0 || this.#headSize > 0) {
      throw new TarError("slug_cut_short", "The slug's archive was cut short.");
    }
    const pieces: Piece[] = [];
    this.#endPiece(pieces);
    return pieces;
  }

  #takeHead(pieces: Piece[]): void {
    const head = Buffer.from(this.#head);
    this.#headSize = 0;
    if (head[0] === 0) {
      this.#keep(head, pieces);
      // Two blocks of zeros end a tar, more pad it.
      this.#ended = true;
      return;
    }
    if (this.#ended) throw new TarError("slug_invalid", "The slug's archive goes on after its end.");
    this.entries += 1;
    if (this.entries > this.#bounds.entries) {
      throw new TarError("slug_too_many_files", `The slug has more than ${this.#bounds.entries} files.`);
    }
    if (this.#size >= MIXED_LEAST && endsPiece(head)) this.#endPiece(pieces);
    this.#keep(head, pieces);
    const size = sizeOf(head);
    this.#rest = Math.ceil(size / BLOCK) * BLOCK;
    if (size >= LARGE_ENTRY) {
      this.#endPiece(pieces);
      this.#inLarge = true;
      this.#hash = createHash("sha256");
    }
  }

  #keep(bytes: Buffer, pieces: Piece[]): void {
    this.#parts.push(bytes);
    this.#size += bytes.length;
    this.#hash?.update(bytes);
    if (this.#size >= this.#limit) this.#endPiece(pieces);
  }

  #endPiece(pieces: Piece[]): void {
    const large = this.#inLarge;
    if (this.#size > 0) {
      // Thousands of short parts are cheaper to join than to hash one by one.
      const parts = large ? this.#parts : [Buffer.concat(this.#parts, this.#size)];
      const hash = this.#hash ?? createHash("sha256").update(parts[0]!);
      pieces.push({ parts, size: this.#size, large, digest: hash.digest("hex") });
    }
    this.#parts = [];
    this.#size = 0;
    this.#hash = large && this.#rest > 0 ? createHash("sha256") : null;
  }
}

/** True for one name in CUT_EVERY (FNV-1a over the head's name field). */
function endsPiece(head: Buffer): boolean {
  let hash = 0x811c9dc5;
  for (let at = 0; at < NAME_BYTES && head[at] !== 0; at += 1) {
    hash = Math.imul(hash ^ head[at]!, 0x01000193);
  }
  // The low bits alone follow too few letters.
  return ((hash ^ (hash >>> 15)) >>> 0) % CUT_EVERY === 0;
}
const NAME_BYTES = 100;

/** Size field of a head: octal text, or base-256 when its first bit is set (GNU). */
function sizeOf(head: Buffer): number {
  if (head[124]! & 0x80) {
    let size = head[124]! & 0x7f;
    for (let at = 125; at < 136; at += 1) size = size * 256 + head[at]!;
    if (size > Number.MAX_SAFE_INTEGER) throw new TarError("slug_invalid", "A file's size cannot be read.");
    return size;
  }
  const text = head
    .toString("latin1", 124, 136)
    .replace(/[\0 ].*$/s, "")
    .trim();
  if (!/^[0-7]*$/.test(text)) throw new TarError("slug_invalid", "A file's size cannot be read.");
  return Number.parseInt(text || "0", 8);
}
