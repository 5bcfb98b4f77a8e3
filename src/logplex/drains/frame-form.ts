import {
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
} from "../../wire/log-batch.ts";
import { LINE_LIMIT, SOURCES } from "../../wire/source.ts";
import type { ProcessNames } from "../process-names.ts";
import type { Ring } from "../ring.ts";
import { STAMP_LENGTH, writeStamp } from "../time-stamp.ts";

/**
 * How one message is framed (contract, section 3):
 * `logplex`: `LEN <PRI>1 TIME host APPNAME PROCID - MSG`, Heroku's HTTPS form without STRUCTURED-DATA;
 * `syslog`: `LEN <PRI>1 TIME d.<uuid> APPNAME PROCID - - MSG`, RFC 5424 with the octet counting of RFC 6587.
 */
export interface FrameForm {
  /** Bytes between PRI and TIME are the same for all; these follow TIME: ` host app `. */
  host: string;
  /** Behind PROCID: ` - ` or ` - - `. */
  nil: string;
  /** True when the L10 line ends without the newline that every other message has. */
  bareLoss: boolean;
}

export const logplexForm: FrameForm = { host: "host", nil: " - ", bareLoss: true };
export const syslogForm = (drainToken: string): FrameForm => ({
  host: drainToken,
  nil: " - - ",
  bareLoss: false,
});

const NEWLINE = 10;
const SPACE = 32;
const ZERO = 48;
/** Copying byte by byte wins over a call below this length. */
const SHORT = 48;

interface Head {
  /** `<190>1 ` */
  pri: Uint8Array;
  /** ` host app ` */
  host: Uint8Array;
}

/** Writes messages of a ring as frames of one form. No allocation a message. */
export class FrameWriter {
  readonly form: FrameForm;
  #heads: Head[];
  #nil: Uint8Array;
  #names: ProcessNames;
  /** Bytes of a message at most, besides its process name. */
  readonly most: number;

  constructor(form: FrameForm, names: ProcessNames) {
    this.form = form;
    this.#names = names;
    this.#nil = Buffer.from(form.nil);
    this.#heads = SOURCES.map(({ appName, pri }) => ({
      pri: Buffer.from(`<${pri}>1 `),
      host: Buffer.from(` ${form.host} ${appName} `),
    }));
    this.most = LINE_LIMIT + STAMP_LENGTH + form.host.length + 64;
  }

  /** Length of the frame of line `number`. */
  measure(ring: Ring, number: number): number {
    const at = ring.at(number);
    const head = this.#heads[ring.bytes[at + RECORD_SOURCE]!]!;
    const name = this.#names.bytes(ring.view.getUint32(at + RECORD_PROCESS));
    const length = this.#length(head, name, ring.view.getUint32(at + RECORD_LENGTH)) + 1;
    return length + digits(length) + 1;
  }

  #length(head: Head, name: Uint8Array, text: number): number {
    return head.pri.length + STAMP_LENGTH + head.host.length + name.length + this.#nil.length + text;
  }

  /** Writes line `number` of `ring` at `at`, where `measure` bytes must be free; returns the offset behind it. */
  write(ring: Ring, number: number, out: Uint8Array, at: number): number {
    const record = ring.at(number);
    const { view, bytes } = ring;
    const head = this.#heads[bytes[record + RECORD_SOURCE]!]!;
    const name = this.#names.bytes(view.getUint32(record + RECORD_PROCESS));
    const length = view.getUint32(record + RECORD_LENGTH);
    const micros = view.getFloat64(record + RECORD_MICROS);
    const text = this.#start(out, at, head, name, micros, this.#length(head, name, length) + 1);
    const from = record + RECORD_HEAD;
    if (length <= SHORT) for (let i = 0; i < length; i += 1) out[text + i] = bytes[from + i]!;
    else out.set(bytes.subarray(from, from + length), text);
    out[text + length] = NEWLINE;
    return text + length + 1;
  }

  /** The frame of one text that stands in no ring, with a newline unless `bare`. */
  single(source: number, process: string, micros: number, text: string, bare: boolean): Buffer {
    const head = this.#heads[source]!;
    const name = Buffer.from(process);
    const bytes = Buffer.from(bare ? text : `${text}\n`);
    const length = this.#length(head, name, bytes.length);
    const out = Buffer.alloc(length + digits(length) + 1);
    out.set(bytes, this.#start(out, 0, head, name, micros, length));
    return out;
  }

  /** Writes everything before the text; returns where the text goes. */
  #start(
    out: Uint8Array,
    from: number,
    head: Head,
    name: Uint8Array,
    micros: number,
    length: number,
  ): number {
    let at = from + digits(length);
    let rest = length;
    for (let i = at - 1; i >= from; i -= 1) {
      const tenth = (rest / 10) | 0;
      out[i] = ZERO + (rest - tenth * 10);
      rest = tenth;
    }
    out[at++] = SPACE;
    for (let i = 0; i < head.pri.length; i += 1) out[at++] = head.pri[i]!;
    writeStamp(out, at, micros);
    at += STAMP_LENGTH;
    for (let i = 0; i < head.host.length; i += 1) out[at++] = head.host[i]!;
    for (let i = 0; i < name.length; i += 1) out[at++] = name[i]!;
    for (let i = 0; i < this.#nil.length; i += 1) out[at++] = this.#nil[i]!;
    return at;
  }
}

/** Decimal digits of a length below a million. */
function digits(length: number): number {
  if (length < 100) return length < 10 ? 1 : 2;
  if (length < 1000) return 3;
  if (length < 10_000) return 4;
  return length < 100_000 ? 5 : 6;
}
