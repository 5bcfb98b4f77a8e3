/*
 * A frame on a link:
 *
 *   +-----------------+--------+------------------------+
 *   | u32 length (BE) | u8 kind| body: length - 1 bytes |
 *   +-----------------+--------+------------------------+
 *
 * The length counts kind and body, and is checked before memory is taken.
 */

/** Bounds of one frame in bytes: control messages, and log batches. */
export const CONTROL_FRAME_LIMIT = 16 * 1024 * 1024;
export const LOG_FRAME_LIMIT = 256 * 1024;

const HEAD = 5;

/** A frame that breaks the format; the link that sent it is closed. */
export class FrameError extends Error {
  override name = "FrameError";
}

/** One frame of `kind` around `body`, in a buffer of its own. */
export function encodeFrame(kind: number, body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEAD + body.length);
  frame.writeUInt32BE(body.length + 1, 0);
  frame[4] = kind;
  frame.set(body, HEAD);
  return frame;
}

/**
 * Takes bytes as they come off a socket and gives whole frames. The body handed to `onFrame` is valid
 * only during the call: copy what outlives it.
 */
export class FrameReader {
  #limit: number;
  #onFrame: (kind: number, body: Buffer) => void;
  #rest: Buffer | null = null;
  #filled = 0;

  constructor(limit: number, onFrame: (kind: number, body: Buffer) => void) {
    this.#limit = limit;
    this.#onFrame = onFrame;
  }

  /**
   * Feeds one chunk.
   * @throws FrameError when a length is zero or above the limit.
   */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#rest === null) {
        const end = this.#wholeFrames(chunk, at);
        if (end === chunk.length) return;
        this.#keep(chunk, end);
        return;
      }
      at = this.#fill(chunk, at);
    }
  }

  /** Gives every whole frame of `chunk` from `at`; returns where the first cut one begins. */
  #wholeFrames(chunk: Buffer, from: number): number {
    let at = from;
    while (chunk.length - at >= HEAD) {
      const length = this.#check(chunk.readUInt32BE(at));
      const end = at + 4 + length;
      if (end > chunk.length) break;
      this.#onFrame(chunk[at + 4]!, chunk.subarray(at + HEAD, end));
      at = end;
    }
    return at;
  }

  #check(length: number): number {
    if (length < 1 || length > this.#limit) {
      throw new FrameError(`A frame of ${length} bytes; at most ${this.#limit} are taken.`);
    }
    return length;
  }

  #keep(chunk: Buffer, from: number): void {
    const have = chunk.length - from;
    const need = have >= 4 ? 4 + this.#check(chunk.readUInt32BE(from)) : HEAD;
    this.#rest = Buffer.allocUnsafe(need);
    chunk.copy(this.#rest, 0, from);
    this.#filled = have;
  }

  #fill(chunk: Buffer, from: number): number {
    let rest = this.#rest!;
    let at = from;
    if (this.#filled < 4) {
      const take = Math.min(4 - this.#filled, chunk.length - at);
      chunk.copy(rest, this.#filled, at, at + take);
      this.#filled += take;
      at += take;
      if (this.#filled < 4) return at;
      const grown = Buffer.allocUnsafe(4 + this.#check(rest.readUInt32BE(0)));
      rest.copy(grown, 0, 0, 4);
      rest = this.#rest = grown;
    }
    const take = Math.min(rest.length - this.#filled, chunk.length - at);
    chunk.copy(rest, this.#filled, at, at + take);
    this.#filled += take;
    at += take;
    if (this.#filled === rest.length) {
      this.#rest = null;
      this.#filled = 0;
      this.#onFrame(rest[4]!, rest.subarray(HEAD));
    }
    return at;
  }
}
