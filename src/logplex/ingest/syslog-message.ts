const SPACE = 32;
const DASH = 45;
const OPEN = 91;
const CLOSE = 93;
const QUOTE = 34;
const BACKSLASH = 92;
const LESS = 60;
const GREATER = 62;
const ZERO = 48;

/**
 * Where the fields of an RFC 5424 message lie: offsets into the bytes it was read from. One object is used
 * for every message: no allocation a line.
 */
export class SyslogMessage {
  timeFrom = 0;
  timeTo = 0;
  appFrom = 0;
  appTo = 0;
  procFrom = 0;
  procTo = 0;
  textFrom = 0;
  textTo = 0;

  /**
   * Reads `<PRI>VERSION TIME HOST APPNAME PROCID MSGID [STRUCTURED-DATA] MSG` (RFC 5424 section 6); structured
   * data is passed over, and may be absent, as in Heroku's own frames. False when it is no such message.
   */
  parse(bytes: Buffer, from: number, to: number): boolean {
    let at = from;
    if (bytes[at] !== LESS) return false;
    at += 1;
    let pri = 0;
    const digits = at;
    while (at < to && bytes[at] !== GREATER) {
      const value = bytes[at]! - ZERO;
      if (value < 0 || value > 9 || at - digits === 3) return false;
      pri = pri * 10 + value;
      at += 1;
    }
    if (at === digits || pri > 191 || bytes[at + 1] !== ZERO + 1 || bytes[at + 2] !== SPACE) return false;
    this.timeFrom = at + 3;
    this.timeTo = field(bytes, this.timeFrom, to);
    const hostTo = field(bytes, this.timeTo + 1, to);
    this.appFrom = hostTo + 1;
    this.appTo = field(bytes, this.appFrom, to);
    this.procFrom = this.appTo + 1;
    this.procTo = field(bytes, this.procFrom, to);
    const idTo = field(bytes, this.procTo + 1, to);
    // MSGID may be the last field; the ones before it may not.
    if (this.procTo >= to || this.procTo === this.procFrom || idTo === this.procTo + 1) return false;
    at = Math.min(idTo + 1, to);
    at = passStructuredData(bytes, at, to);
    if (bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf && at + 3 <= to) at += 3;
    this.textFrom = at;
    let end = to;
    while (end > at && (bytes[end - 1] === 10 || bytes[end - 1] === 13)) end -= 1;
    this.textTo = end;
    return true;
  }
}

/** End of the field at `from`: the next space, or `to`. */
function field(bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] !== SPACE) at += 1;
  return at;
}

/** Behind the structured data at `from`, if it is any; a text that only looks like it stays text. */
function passStructuredData(bytes: Buffer, from: number, to: number): number {
  if (bytes[from] === DASH && from < to) {
    if (from + 1 === to) return to;
    return bytes[from + 1] === SPACE ? from + 2 : from;
  }
  let at = from;
  while (at < to && bytes[at] === OPEN) {
    let quoted = false;
    at += 1;
    while (at < to && (quoted || bytes[at] !== CLOSE)) {
      if (bytes[at] === BACKSLASH && quoted) at += 1;
      else if (bytes[at] === QUOTE) quoted = !quoted;
      at += 1;
    }
    if (at >= to) return from;
    at += 1;
  }
  if (at === from || at >= to) return at;
  return bytes[at] === SPACE ? at + 1 : from;
}

let heldSecond = 0;
const heldText = Buffer.alloc(19);
const digit2 = (bytes: Buffer, at: number): number => (bytes[at]! - ZERO) * 10 + bytes[at + 1]! - ZERO;

/**
 * Microseconds since the epoch of an RFC 3339 time in `bytes`; NaN when it is none (`-` among them). The part
 * before the fraction is computed anew only when it changes.
 */
export function parseStamp(bytes: Buffer, from: number, to: number): number {
  if (to - from < 20) return Number.NaN;
  let same = true;
  for (let i = 0; i < 19 && same; i += 1) same = bytes[from + i] === heldText[i];
  if (!same) {
    const second = Date.parse(`${bytes.toString("latin1", from, from + 19)}Z`) / 1000;
    if (!Number.isInteger(second)) return Number.NaN;
    heldSecond = second;
    bytes.copy(heldText, 0, from, from + 19);
  }
  let at = from + 19;
  let fraction = 0;
  if (bytes[at] === 46) {
    at += 1;
    let unit = 100_000;
    while (at < to && bytes[at]! >= ZERO && bytes[at]! <= ZERO + 9) {
      fraction += (bytes[at]! - ZERO) * unit;
      unit = Math.floor(unit / 10);
      at += 1;
    }
  }
  let offset = 0;
  if (bytes[at] !== 90) {
    if (to - at !== 6 || (bytes[at] !== 43 && bytes[at] !== DASH)) return Number.NaN;
    offset = (digit2(bytes, at + 1) * 3600 + digit2(bytes, at + 4) * 60) * (bytes[at] === 43 ? 1 : -1);
  }
  return (heldSecond - offset) * 1e6 + fraction;
}
