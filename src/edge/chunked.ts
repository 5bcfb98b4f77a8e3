import { CHUNK_EXTRA_LIMIT } from "./limits.ts";

const S = {
  Size: 0,
  Extension: 1,
  SizeEnd: 2,
  Data: 3,
  DataCr: 4,
  DataLf: 5,
  Trailer: 6,
  TrailerLine: 7,
  End: 8,
  Done: 9,
} as const;
type State = (typeof S)[keyof typeof S];

/** A chunk size has at most 13 hex digits: more than a number holds exactly. */
const SIZE_DIGITS = 13;

const CR = 13;
const LF = 10;

/**
 * Takes the chunked coding (RFC 9112, section 7.1) off an answer's body, wherever reads cut it. Extensions and
 * trailers are dropped.
 */
export class ChunkedReader {
  #state: State = S.Size;
  #size = 0;
  #digits = 0;
  #extra = 0;
  broken = false;

  get done(): boolean {
    return this.#state === S.Done;
  }

  /**
   * Reads on from `at` up to `end`, at most to the end of one piece of data. Returns where it stopped; `from` and
   * `to` are the piece (empty when there is none). Call again until it returns `end`, `done` or `broken`.
   */
  from = 0;
  to = 0;
  read(buffer: Buffer, start: number, end: number): number {
    let at = start;
    this.from = this.to = 0;
    while (at < end) {
      const byte = buffer[at]!;
      switch (this.#state) {
        case S.Size: {
          const digit = hex(byte);
          if (digit >= 0) {
            if (++this.#digits > SIZE_DIGITS) return this.#fail(at);
            this.#size = this.#size * 16 + digit;
          } else if (this.#digits === 0) return this.#fail(at);
          else if (byte === CR) this.#state = S.SizeEnd;
          else if (byte === 59 || byte === 32 || byte === 9) this.#state = S.Extension;
          else return this.#fail(at);
          at++;
          break;
        }
        case S.Extension:
          if (byte === CR) this.#state = S.SizeEnd;
          else if (byte === LF || ++this.#extra > CHUNK_EXTRA_LIMIT) return this.#fail(at);
          at++;
          break;
        case S.SizeEnd:
          if (byte !== LF) return this.#fail(at);
          this.#digits = 0;
          this.#extra = 0;
          this.#state = this.#size === 0 ? S.Trailer : S.Data;
          at++;
          break;
        case S.Data: {
          const length = Math.min(this.#size, end - at);
          this.from = at;
          this.to = at + length;
          this.#size -= length;
          if (this.#size === 0) this.#state = S.DataCr;
          return this.to;
        }
        case S.DataCr:
          if (byte !== CR) return this.#fail(at);
          this.#state = S.DataLf;
          at++;
          break;
        case S.DataLf:
          if (byte !== LF) return this.#fail(at);
          this.#state = S.Size;
          at++;
          break;
        case S.Trailer:
          this.#state = byte === CR ? S.End : S.TrailerLine;
          at++;
          break;
        case S.TrailerLine:
          if (++this.#extra > CHUNK_EXTRA_LIMIT) return this.#fail(at);
          if (byte === LF) this.#state = S.Trailer;
          at++;
          break;
        case S.End:
          if (byte !== LF) return this.#fail(at);
          this.#state = S.Done;
          return at + 1;
        default:
          return at;
      }
    }
    return at;
  }

  #fail(at: number): number {
    this.broken = true;
    return at;
  }
}

function hex(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
