import type net from "node:net";
import { unpack } from "msgpackr";
import { encodeFrame, FrameReader, LOG_FRAME_LIMIT } from "../../wire/frame.ts";
import {
  BATCH_HEAD,
  HANDLE_LIMIT,
  LOG_ACK,
  LOG_BATCH,
  LOG_HELLO,
  LOG_LOST,
  LOG_NAME,
  type LogHello,
  type LogLost,
  type LogName,
  RECORD_HEAD,
  RECORD_LENGTH,
} from "../../wire/log-batch.ts";
import { Source } from "../../wire/source.ts";
import type { AppStream, Taken } from "../app-stream.ts";
import { BROKEN } from "../ring.ts";
import type { Streams } from "../streams.ts";
import { nowMicros, stampText } from "../time-stamp.ts";

/** The part at the other end; known from the socket, never from a message. */
export type Role = "edge" | "host" | "control";

const bits = (...sources: Source[]): number =>
  sources.reduce((set: number, source) => set | (1 << source), 0);

/** Sources that each part may write. */
const ALLOWED: Record<Role, number> = {
  edge: bits(Source.Router),
  host: bits(Source.Dyno, Source.Platform),
  control: bits(Source.Platform, Source.Api, Source.Outside),
};

/** Followers are woken at least this often within a batch: below a reader's buffer, so one that keeps up loses nothing. */
const WAKE_LINES = 512;

/** A sender's life as far as the Logplex has seen it; shared by an old link that still empties and the new one. */
interface SenderLife {
  /** Last batch taken in this life of the Logplex; those up to it come again only to be acknowledged. */
  batch: number;
  /** Milliseconds since the epoch of its last hello. */
  seen: number;
}

/** The senders whose links are or were open. */
export class Senders {
  #lives = new Map<string, SenderLife>();
  readonly links = new Set<SenderLink>();

  life(sender: string): SenderLife {
    let life = this.#lives.get(sender);
    if (!life) {
      life = { batch: 0, seen: 0 };
      this.#lives.set(sender, life);
    }
    life.seen = Date.now();
    return life;
  }

  /** Numbers of the process names that open links may still use. */
  processes(): Set<number> {
    const held = new Set<number>();
    for (const link of this.links) for (const process of link.processes) held.add(process);
    return held;
  }

  /** Forgets senders that have been away since `before` (milliseconds since the epoch), here and in the streams. */
  forget(before: number, streams: Iterable<AppStream>): void {
    const open = new Set<string>();
    for (const link of this.links) open.add(link.sender);
    for (const [sender, { seen }] of this.#lives) {
      if (seen < before && !open.has(sender)) this.#lives.delete(sender);
    }
    for (const stream of streams) {
      for (const [sender, { seen }] of stream.taken) {
        if (seen < before && !open.has(sender)) stream.taken.delete(sender);
      }
    }
  }
}

const NOTHING_TAKEN: Taken = { batch: 0, count: 0, dropped: 0, seen: 0 };

/** What an app's handle stands for on one link. */
interface HandledApp {
  id: string;
  /** Null while there is no room for the app; looked up again when its settings come, or come back. */
  stream: AppStream | null;
  taken: Taken;
  /** Number of the last batch that had lines of it. */
  touched: number;
}

/** One sender's connection: batches of edge, host or control into the rings. */
export class SenderLink {
  #socket: net.Socket;
  #streams: Streams;
  #senders: Senders;
  #allowed: number;
  /** Random id of the sender's life; empty until its hello. */
  sender = "";
  /** By app handle; null: no room for the app. */
  #apps: (HandledApp | null)[] = [];
  #processes: number[] = [];
  /** Apps with lines in the batch being taken. */
  #touched: HandledApp[] = [];
  #life: SenderLife = { batch: 0, seen: 0 };

  constructor(socket: net.Socket, role: Role, streams: Streams, senders: Senders) {
    this.#socket = socket;
    this.#streams = streams;
    this.#senders = senders;
    this.#allowed = ALLOWED[role];
    senders.links.add(this);
    const reader = new FrameReader(LOG_FRAME_LIMIT, (kind, body) => this.#take(kind, body));
    socket.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        // A frame or message that is no such thing: the peer starts afresh and sends again what was not taken.
        socket.destroy();
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => senders.links.delete(this));
  }

  /** Numbers of the process names that this link may still use. */
  get processes(): readonly number[] {
    return this.#processes;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(kind: number, body: Buffer): void {
    if (kind === LOG_BATCH && this.sender) this.#batch(body);
    else if (kind === LOG_HELLO) this.#hello(unpack(body) as LogHello);
    else if (kind === LOG_NAME && this.sender) this.#name(unpack(body) as LogName);
    else if (kind === LOG_LOST && this.sender) this.#lost(unpack(body) as LogLost);
    else this.#socket.destroy();
  }

  #hello({ sender }: LogHello): void {
    this.sender = String(sender).slice(0, 64);
    this.#life = this.#senders.life(this.sender);
  }

  #name({ handle, app, process, acknowledged }: LogName): void {
    if (!Number.isInteger(handle) || handle < 0 || handle >= HANDLE_LIMIT) {
      this.#socket.destroy();
      return;
    }
    if (process !== null) {
      // Handles come in order; holes would read as process 0.
      while (this.#processes.length < handle) this.#processes.push(-1);
      this.#processes[handle] = this.#streams.names.id(process);
      return;
    }
    if (app === null) return;
    const stream = this.#streams.open(app);
    const taken = stream ? this.#account(stream, acknowledged) : { ...NOTHING_TAKEN, count: acknowledged };
    while (this.#apps.length < handle) this.#apps.push(null);
    this.#apps[handle] = { id: app, stream, taken, touched: 0 };
  }

  /** The account of this sender in `stream`; a gap to what it was acknowledged is what a killed Logplex took with it. */
  #account(stream: AppStream, acknowledged: number): Taken {
    let taken = stream.taken.get(this.sender);
    if (!taken) {
      taken = { ...NOTHING_TAKEN };
      stream.taken.set(this.sender, taken);
    }
    taken.seen = Date.now();
    const gap = acknowledged - taken.count;
    if (gap > 0) {
      taken.count = acknowledged;
      const since = stampText(stream.savedAt || nowMicros());
      stream.tell(Source.Shuttle, "log-shuttle", `Error L13: ${gap} messages lost since ${since}.`);
    }
    return taken;
  }

  #lost({ app, count, since }: LogLost): void {
    const stream = this.#streams.open(app);
    if (!stream) return;
    const taken = this.#account(stream, 0);
    const more = count - taken.dropped;
    if (!(more > 0)) return;
    taken.dropped = count;
    stream.tell(
      Source.Shuttle,
      "log-shuttle",
      `Error L12: ${more} messages dropped since ${stampText(since)}.`,
    );
  }

  #batch(body: Buffer): void {
    if (body.length < BATCH_HEAD) {
      this.#socket.destroy();
      return;
    }
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const number = view.getUint32(0);
    if (number > this.#life.batch) {
      let at = BATCH_HEAD;
      while (at !== BROKEN && at < body.length) at = this.#run(body, view, at, number);
      for (const app of this.#touched) {
        app.taken.batch = number;
        app.stream?.wake();
      }
      this.#touched.length = 0;
      if (at === BROKEN) {
        this.#socket.destroy();
        return;
      }
      this.#life.batch = number;
    }
    this.#socket.write(encodeFrame(LOG_ACK, body.subarray(0, BATCH_HEAD)));
  }

  /** Takes neighbouring records of one app; returns where the next begin, or BROKEN. */
  #run(body: Buffer, view: DataView, from: number, number: number): number {
    if (body.length - from < RECORD_HEAD) return BROKEN;
    const handle = view.getUint32(from);
    const app = this.#apps[handle];
    if (!app) return BROKEN;
    const { taken } = app;
    // Taken before the Logplex was killed.
    if (number <= taken.batch) return this.#pass(body, view, from, handle, null);
    const stream = app.stream && !app.stream.ended ? app.stream : this.#reopen(app);
    if (!stream) return this.#pass(body, view, from, handle, taken);
    const { ring } = stream;
    let at = from;
    let total = 0;
    for (;;) {
      const before = ring.next + ring.refused;
      at = ring.take(body, view, at, handle, this.#processes, this.#allowed, WAKE_LINES);
      total += ring.next + ring.refused - before;
      if (at === BROKEN || at >= body.length || view.getUint32(at) !== handle) break;
      stream.wake();
      if (body.length - at < RECORD_HEAD) return BROKEN;
    }
    this.#streams.refused += ring.refused;
    ring.refused = 0;
    taken.count += total;
    if (app.touched !== number) {
      app.touched = number;
      this.#touched.push(app);
    }
    return at;
  }

  /** The stream of an app that had no room, or was destroyed, if it is there now; the account goes on. */
  #reopen(app: HandledApp): AppStream | null {
    app.stream = this.#streams.open(app.id);
    app.stream?.taken.set(this.sender, app.taken);
    return app.stream;
  }

  /** Passes over records of one app; with `refused` their lines are counted as refused, in that account too. */
  #pass(body: Buffer, view: DataView, from: number, handle: number, refused: Taken | null): number {
    let at = from;
    while (at < body.length && body.length - at >= RECORD_HEAD && view.getUint32(at) === handle) {
      at += RECORD_HEAD + view.getUint32(at + RECORD_LENGTH);
      if (!refused) continue;
      this.#streams.refused += 1;
      refused.count += 1;
    }
    return at > body.length || (at < body.length && body.length - at < RECORD_HEAD) ? BROKEN : at;
  }
}
