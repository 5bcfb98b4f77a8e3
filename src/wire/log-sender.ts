import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  BATCH_HEAD,
  RECORD_HEAD,
  RECORD_LENGTH,
  RECORD_MICROS,
  RECORD_PROCESS,
  RECORD_SOURCE,
  SENDER_LIMIT,
} from "./log-batch.ts";
import { type KeptBatch, LogLink } from "./log-link.ts";
import { LINE_LIMIT, type Source } from "./source.ts";

/**
 * The sending end of the log path, used by edge, host and control (design section 2). Lines are written
 * straight into the current batch; a batch goes out when it is full or 20 ms old; unacknowledged batches are
 * kept up to SENDER_LIMIT, then the oldest are dropped, counted per app and told at reconnect.
 */
export interface LogSender {
  /** The batch that `begin` gave room in; read it anew after each `begin`. */
  readonly buffer: Buffer;
  /** Handle of an app, for `begin` and `write`; the same id gives the same handle. */
  app(id: string): number;
  /** Handle of a process name (`web.1`, `router`, `api`). */
  process(name: string): number;
  /** Makes room for a line of at most `most` bytes (at most LINE_LIMIT) and returns where in `buffer` to write it. */
  begin(app: number, process: number, source: Source, micros: number, most: number): number;
  /** Ends the line that `begin` opened; `end` is the offset behind its last byte. */
  commit(end: number): void;
  /** Copies one line in; longer ones are split at LINE_LIMIT. */
  write(app: number, process: number, source: Source, micros: number, bytes: Uint8Array): void;
  /** Sends the current batch now. */
  flush(): void;
  /** Flushes, waits up to `ms` for the acknowledgements, and closes. */
  close(ms: number): Promise<void>;
}

/** Age at which a batch goes out though it is not full. */
const BATCH_AGE_MS = 20;
/** Bytes of a whole batch frame: what one socket read takes on the other side; far below LOG_FRAME_LIMIT. */
const BATCH_BYTES = 64 * 1024;
/** u32 length and u8 kind of the frame, then the batch number. */
const FIRST_RECORD = 5 + BATCH_HEAD;
/** Full-size buffers kept for the next batches. */
const SPARE_BUFFERS = 8;

/** Calls `visit` with the app handle and time of every line in a batch frame. */
function eachLine(frame: Buffer, visit: (app: number, micros: number) => void): void {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  let at = FIRST_RECORD;
  while (at < frame.length) {
    visit(view.getUint32(at), view.getFloat64(at + RECORD_MICROS));
    at += RECORD_HEAD + view.getUint32(at + RECORD_LENGTH);
  }
}

class BatchingSender implements LogSender {
  buffer: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(BATCH_BYTES);
  #view = new DataView(this.buffer.buffer);
  #end = FIRST_RECORD;
  #open = 0;
  #number = 0;
  #timer: NodeJS.Timeout | null = null;
  #spare: Buffer<ArrayBuffer>[] = [];
  #kept: KeptBatch[] = [];
  #keptBytes = 0;
  #apps = new Map<string, number>();
  #appIds: string[] = [];
  #acknowledged: number[] = [];
  #processes = new Map<string, number>();
  #lost = new Map<number, { count: number; since: number; told: number }>();
  #link: LogLink;

  constructor(path: string) {
    this.#link = new LogLink(path, randomUUID(), {
      names: () => this.#names(),
      onOpen: () => this.#tellLost(true),
      onAck: (number) => this.#acknowledge(number),
      kept: this.#kept,
      onDrain: () => this.#tellLost(false),
    });
  }

  *#names() {
    for (const [process, handle] of this.#processes) yield { handle, app: null, process, acknowledged: 0 };
    for (const [app, handle] of this.#apps) {
      yield { handle, app, process: null, acknowledged: this.#acknowledged[handle]! };
    }
  }

  app(id: string): number {
    const known = this.#apps.get(id);
    if (known !== undefined) return known;
    const handle = this.#appIds.length;
    this.#apps.set(id, handle);
    this.#appIds.push(id);
    this.#acknowledged.push(0);
    this.#link.name({ handle, app: id, process: null, acknowledged: 0 });
    return handle;
  }

  process(name: string): number {
    const known = this.#processes.get(name);
    if (known !== undefined) return known;
    const handle = this.#processes.size;
    this.#processes.set(name, handle);
    this.#link.name({ handle, app: null, process: name, acknowledged: 0 });
    return handle;
  }

  begin(app: number, process: number, source: Source, micros: number, most: number): number {
    if (this.#end + RECORD_HEAD + most > BATCH_BYTES) this.#cut();
    const at = this.#end;
    const view = this.#view;
    view.setUint32(at, app);
    view.setUint32(at + RECORD_PROCESS, process);
    view.setUint8(at + RECORD_SOURCE, source);
    view.setFloat64(at + RECORD_MICROS, micros);
    this.#open = at;
    return at + RECORD_HEAD;
  }

  commit(end: number): void {
    this.#view.setUint32(this.#open + RECORD_LENGTH, end - this.#open - RECORD_HEAD);
    this.#end = end;
    // One timer a batch, not one a line.
    if (this.#timer === null) this.#timer = setTimeout(this.#due, BATCH_AGE_MS);
  }

  write(app: number, process: number, source: Source, micros: number, bytes: Uint8Array): void {
    let from = 0;
    do {
      const length = Math.min(bytes.length - from, LINE_LIMIT);
      const at = this.begin(app, process, source, micros, length);
      if (length === bytes.length) this.buffer.set(bytes, at);
      else this.buffer.set(bytes.subarray(from, from + length), at);
      this.commit(at + length);
      from += length;
    } while (from < bytes.length);
  }

  #due = (): void => {
    this.#timer = null;
    // While nothing can be sent, a batch fills up instead: a thousand small ones would only cost memory.
    if (this.#link.open && this.#link.sent === this.#kept.length) this.#cut();
    else if (this.#end > FIRST_RECORD) this.#timer = setTimeout(this.#due, BATCH_AGE_MS);
  };

  flush(): void {
    this.#cut();
  }

  #cut(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const end = this.#end;
    if (end === FIRST_RECORD) return;
    this.#number += 1;
    LogLink.writeBatchHead(this.#view, end, this.#number);
    let frame: Buffer<ArrayBuffer>;
    if (end * 2 < BATCH_BYTES) {
      // A small batch is copied out, so that what waits takes the memory of its bytes only.
      frame = Buffer.allocUnsafe(end);
      this.buffer.copy(frame, 0, 0, end);
    } else {
      frame = this.buffer.subarray(0, end);
      this.buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(BATCH_BYTES);
      this.#view = new DataView(this.buffer.buffer);
    }
    this.#end = FIRST_RECORD;
    this.#kept.push({ number: this.#number, frame });
    this.#keptBytes += end;
    this.#link.pump();
    while (this.#keptBytes > SENDER_LIMIT && this.#dropOldest());
  }

  /** Drops the oldest batch that is not already on its way; false when all are. */
  #dropOldest(): boolean {
    const index = this.#link.sent;
    const batch = this.#kept[index];
    if (!batch) return false;
    this.#kept.splice(index, 1);
    this.#keptBytes -= batch.frame.length;
    eachLine(batch.frame, (app, micros) => {
      const lost = this.#lost.get(app);
      if (!lost) this.#lost.set(app, { count: 1, since: micros, told: 0 });
      else {
        if (lost.told === lost.count) lost.since = micros;
        lost.count += 1;
      }
    });
    this.#recycle(batch.frame);
    return true;
  }

  #recycle(frame: Buffer<ArrayBuffer>): void {
    if (frame.buffer.byteLength !== BATCH_BYTES || this.#spare.length >= SPARE_BUFFERS) return;
    this.#spare.push(Buffer.from(frame.buffer, 0, BATCH_BYTES));
  }

  #acknowledge(number: number): void {
    let taken = 0;
    while (taken < this.#link.sent && this.#kept[taken]!.number <= number) {
      const { frame } = this.#kept[taken]!;
      eachLine(frame, this.#countAcknowledged);
      this.#keptBytes -= frame.length;
      this.#recycle(frame);
      taken += 1;
    }
    if (taken === 0) return;
    this.#kept.splice(0, taken);
    this.#link.sent -= taken;
    this.#link.pump();
  }

  #countAcknowledged = (app: number): void => {
    this.#acknowledged[app]! += 1;
  };

  /** Says what was dropped, before the batches that follow it; all of it again on a new connection. */
  #tellLost(all: boolean): void {
    for (const [app, lost] of this.#lost) {
      if (!all && lost.told === lost.count) continue;
      this.#link.lost({ app: this.#appIds[app]!, count: lost.count, since: lost.since });
      lost.told = lost.count;
    }
  }

  async close(ms: number): Promise<void> {
    this.#cut();
    const deadline = Date.now() + ms;
    while (this.#kept.length > 0 && Date.now() < deadline) await delay(2);
    this.#link.close();
  }
}

/**
 * A sender to the Logplex's socket at `path` (one of its role: logplex-edge, logplex-host, logplex-control). It
 * connects by itself, again and again; lines may be written before the Logplex is there.
 */
export function createLogSender(path: string): LogSender {
  return new BatchingSender(path);
}
