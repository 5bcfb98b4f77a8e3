/** Bytes of one message from outside at most; a longer text line is split further on. */
export const MESSAGE_LIMIT = 64 * 1024;
const DIGITS_MOST = 6;

const NEWLINE = 10;
const SPACE = 32;
const ZERO = 48;
const LESS = 60;

/**
 * Takes a stream of octet-counted messages (`LEN SP MSG`, RFC 6587 section 3.4.1) cut at any byte, and gives
 * them one by one. Messages that begin with `<` are read up to the line's end (section 3.4.2), as old senders
 * write them. What is neither ends the stream: nobody could tell where the next message begins.
 */
export class OctetFramer {
  #onMessage: (bytes: Buffer, from: number, to: number) => void;
  /** A message that is cut, from its first digit on; its memory is taken for its own length only. */
  #rest: Buffer | null = null;
  #filled = 0;

  /** @param onMessage gets a range of `bytes`, valid during the call */
  constructor(onMessage: (bytes: Buffer, from: number, to: number) => void) {
    this.#onMessage = onMessage;
  }

  /** True when the stream ends within a message. */
  get cut(): boolean {
    return this.#filled > 0;
  }

  /** Feeds one chunk; false when it is no such stream: call it no more. */
  push(chunk: Buffer): boolean {
    if (this.#filled === 0) return this.#scan(chunk, 0);
    // A cut message: its head may be cut as well, so it is put together and scanned again.
    const rest = this.#rest!;
    if (this.#filled + chunk.length <= rest.length && rest.length > MESSAGE_LIMIT / 8) {
      chunk.copy(rest, this.#filled);
      this.#filled += chunk.length;
      const whole = rest.subarray(0, this.#filled);
      if (!this.#complete(whole)) return this.#filled <= MESSAGE_LIMIT + DIGITS_MOST + 1;
      this.#filled = 0;
      this.#rest = null;
      return this.#scan(whole, 0);
    }
    const joined = Buffer.concat([rest.subarray(0, this.#filled), chunk]);
    this.#filled = 0;
    this.#rest = null;
    return this.#scan(joined, 0);
  }

  /** False only when `bytes` surely holds no whole message yet. */
  #complete(bytes: Buffer): boolean {
    if (bytes[0] === LESS) return bytes.includes(NEWLINE);
    const space = bytes.indexOf(SPACE);
    return (
      space < 0 ||
      space > DIGITS_MOST ||
      bytes.length - space - 1 >= Number(bytes.toString("latin1", 0, space))
    );
  }

  #scan(bytes: Buffer, from: number): boolean {
    let at = from;
    const end = bytes.length;
    while (at < end) {
      if (bytes[at] === LESS) {
        const line = bytes.indexOf(NEWLINE, at);
        if (line < 0) {
          if (end - at > MESSAGE_LIMIT) return false;
          break;
        }
        if (line - at > MESSAGE_LIMIT) return false;
        this.#onMessage(bytes, at, line);
        at = line + 1;
        continue;
      }
      let digit = at;
      let length = 0;
      while (digit < end && digit - at <= DIGITS_MOST) {
        const value = bytes[digit]! - ZERO;
        if (value < 0 || value > 9) break;
        length = length * 10 + value;
        digit += 1;
      }
      if (digit === end && digit - at <= DIGITS_MOST) break;
      if (digit === at || bytes[digit] !== SPACE || length === 0 || length > MESSAGE_LIMIT) {
        // A newline between messages is what some senders put behind each.
        if (bytes[at] !== NEWLINE) return false;
        at += 1;
        continue;
      }
      if (end - digit - 1 < length) break;
      this.#onMessage(bytes, digit + 1, digit + 1 + length);
      at = digit + 1 + length;
    }
    if (at < end) this.#keep(bytes, at);
    return true;
  }

  #keep(bytes: Buffer, from: number): void {
    const have = bytes.length - from;
    const space = bytes.indexOf(SPACE, from);
    const known = bytes[from] !== LESS && space > from && space - from <= DIGITS_MOST;
    const need = known ? space - from + 1 + Number(bytes.toString("latin1", from, space)) : have;
    this.#rest = Buffer.allocUnsafe(Math.max(need, have));
    bytes.copy(this.#rest, 0, from);
    this.#filled = have;
  }
}
