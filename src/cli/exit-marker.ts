/*
 * An attached dyno's bytes end with the status of its command, in the words that Heroku's CLI looks for:
 * U+FFFF, a space, `heroku-command-exit-status: N`. The mark may be cut anywhere between two reads.
 */
const MARK = Buffer.from("\uFFFF heroku-command-exit-status: ", "utf8");

/** A status has at most three digits; what follows the mark is a line end. */
const MAX_TAIL = 5;

/** Lets the bytes of an attached dyno through, but for the mark with the exit status at their end. */
export class ExitMarker {
  #held: Buffer = Buffer.alloc(0);
  #status: number | null = null;

  /** The exit status told; null until the mark has come whole. */
  get status(): number | null {
    return this.#status;
  }

  /** Takes what came and answers what is to be printed now: a possible beginning of the mark is held back. */
  push(chunk: Buffer): Buffer {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    const at = bytes.indexOf(MARK);
    if (at >= 0) {
      this.#held = bytes.subarray(at);
      const tail = this.#held.subarray(MARK.length);
      const digits = /^\d{1,3}/.exec(tail.toString("latin1"))?.[0];
      // Digits may still be to come; the end of the stream decides in `end`.
      if (digits) this.#status = Number(digits);
      if (tail.length <= MAX_TAIL) return bytes.subarray(0, at);
      // More output follows: the mark was printed by the command itself and is no end.
      const rest = this.#held.subarray(MARK.length + (digits?.length ?? 0));
      this.#held = Buffer.alloc(0);
      return Buffer.concat([bytes.subarray(0, at), rest]);
    }
    const kept = beginningOfMark(bytes);
    this.#held = bytes.subarray(bytes.length - kept);
    return bytes.subarray(0, bytes.length - kept);
  }

  /** What is left to be printed when the stream has ended. */
  end(): Buffer {
    const rest = this.#held.indexOf(MARK) === 0 ? Buffer.alloc(0) : this.#held;
    this.#held = Buffer.alloc(0);
    return rest;
  }
}

/** How many of the last bytes could be the mark's first. */
function beginningOfMark(bytes: Buffer): number {
  for (let length = Math.min(MARK.length - 1, bytes.length); length > 0; length--) {
    if (bytes.subarray(bytes.length - length).equals(MARK.subarray(0, length))) return length;
  }
  return 0;
}
