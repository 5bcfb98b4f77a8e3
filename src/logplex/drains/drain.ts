import { randomBytes } from "node:crypto";
import type { DrainSettings } from "../../wire/log-settings.ts";
import { Source } from "../../wire/source.ts";
import type { AppStream, DrainPlace, Follower } from "../app-stream.ts";
import type { ProcessNames } from "../process-names.ts";
import { type Loss, RingReader } from "../reader.ts";
import { nowMicros, stampText } from "../time-stamp.ts";
import { parseDestination } from "./destination.ts";
import { FrameWriter } from "./frame-form.ts";
import { HttpTransport } from "./http-transport.ts";
import { SyslogTransport } from "./syslog-transport.ts";
import type { Frame, Outcome, Transport, Trouble } from "./transport.ts";

/** Messages that a drain without success keeps, until one. */
const HOPELESS_BUFFER = 10;
/** The app's own stream is told of a loss at once, then at doubling distances up to this. */
const TELL_FIRST_MS = 1000;
const TELL_MAX_MS = 60_000;
/** L14 and refused addresses are told at most this often. */
const TROUBLE_MS = 60_000;
/** Frame buffers kept for any drain's next frame: a frame is out for a moment, so few serve many drains. */
const SPARE_FRAMES = 8;
const FRAME_BUFFER = 128 * 1024;
const spare: Buffer[] = [];

/** A frame and what stands in it, until it is delivered or counted as lost. */
interface Pending extends Frame {
  buffer: Buffer;
  /** Number of its first line, and how many lines. */
  first: number;
  lines: number;
  /** Microseconds since the epoch of the first line. */
  since: number;
  loss: Loss | null;
  tries: number;
}

/** What all drains share. */
export interface DrainContext {
  names: ProcessNames;
  /** Messages that wait for a drain at most. */
  buffer: number;
  allowPrivate: boolean;
  /** Certificates to trust instead of the public ones. */
  ca?: string;
}

/** One drain of an app: takes frames out of the ring and hands them to its transport, one at a time. */
export class Drain implements Follower {
  readonly settings: DrainSettings;
  #stream: AppStream;
  #reader: RingReader;
  #transport: Transport;
  #writer: FrameWriter;
  #context: DrainContext;
  #shown: string;
  #frame: Pending | null = null;
  #busy = false;
  #pause: NodeJS.Timeout | null = null;
  #ended = false;
  #failures = 0;
  #lastSuccess = Date.now();
  /** Losses that the app's own stream has not been told. */
  #untold: Loss = { count: 0, since: 0 };
  #tellAt = 0;
  #tellPause = TELL_FIRST_MS;
  #troubleAt = 0;
  /** Lines that the drain has taken in this life. */
  delivered = 0;

  /**
   * @param place where it stood in an earlier life; null: it begins with the next line
   * @throws Error when its URL is none; control lets no such URL in.
   */
  constructor(settings: DrainSettings, stream: AppStream, context: DrainContext, place: DrainPlace | null) {
    const destination = parseDestination(settings.url);
    if (!destination) throw new Error(`The URL of drain ${settings.token} is not one that a drain may have.`);
    this.settings = settings;
    this.#stream = stream;
    this.#context = context;
    this.#shown = destination.shown;
    const options = {
      allowPrivate: context.allowPrivate,
      ca: context.ca,
      onTrouble: (trouble: Trouble) => this.#tellTrouble(trouble),
    };
    this.#transport = destination.scheme.startsWith("syslog")
      ? new SyslogTransport(destination, settings.token, options)
      : new HttpTransport(destination, settings.token, options);
    this.#writer = new FrameWriter(this.#transport.form, context.names);
    const { ring } = stream;
    this.#reader = new RingReader(ring, context.buffer, Math.min(place?.cursor ?? ring.next, ring.next));
    this.#reader.onLoss = (count, since) => this.#owe(count, since);
    if (place && place.lost > 0) this.#reader.untell({ count: place.lost, since: place.since });
    stream.followers.add(this);
  }

  /** Lines lost in this life, told or not. */
  get lost(): number {
    return this.#reader.lostEver;
  }

  /** Lines that still wait, those of a frame on its way included. */
  get waiting(): number {
    return this.#reader.waiting + (this.#frame?.lines ?? 0);
  }

  /** True while it can be expected to deliver what waits soon. */
  get hopeful(): boolean {
    return !this.#ended && this.#failures === 0 && this.waiting > 0;
  }

  /** Where it stands, to be written down: before the frame that is not delivered yet. */
  get place(): DrainPlace {
    const told = this.#frame?.loss;
    const { loss, cursor } = this.#reader;
    const since = told && loss.count > 0 ? Math.min(told.since, loss.since) : (told?.since ?? loss.since);
    return { cursor: this.#frame?.first ?? cursor, lost: loss.count + (told?.count ?? 0), since };
  }

  wake(): void {
    if (this.#busy || this.#pause !== null || this.#ended) return;
    this.#pump();
  }

  #pump(): void {
    while (!this.#busy && this.#pause === null && !this.#ended) {
      this.#frame ??= this.#take();
      const frame = this.#frame;
      if (!frame) return;
      frame.tries += 1;
      const outcome = this.#transport.send(frame);
      if (typeof outcome === "string") {
        this.#settle(frame, outcome);
        continue;
      }
      this.#busy = true;
      void outcome.then((later) => {
        this.#busy = false;
        if (this.#ended) return;
        this.#settle(frame, later);
        this.#pump();
      });
    }
  }

  /** The next frame out of the ring, the loss that is to be told first in it; null when nothing waits. */
  #take(): Pending | null {
    const reader = this.#reader;
    const loss = reader.takeLoss();
    if (!loss && reader.cursor >= reader.ring.next) return null;
    const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(FRAME_BUFFER);
    const { ring } = reader;
    const first = reader.cursor;
    let at = 0;
    if (loss) {
      const text = `Error L10 (output buffer overflow): ${loss.count} messages dropped since ${stampText(loss.since)}.`;
      const bare = this.#writer.form.bareLoss;
      const told = this.#writer.single(Source.Logplex, "logplex", nowMicros(), text, bare);
      at += told.copy(buffer);
    }
    const since = first < ring.next ? ring.micros(first) : (loss?.since ?? 0);
    while (reader.cursor < ring.next) {
      const size = this.#writer.measure(ring, reader.cursor);
      if (at + size > (at === 0 ? buffer.length : this.#transport.frameBytes)) break;
      at = this.#writer.write(ring, reader.cursor, buffer, at);
      reader.cursor += 1;
    }
    const lines = reader.cursor - first;
    return {
      bytes: buffer.subarray(0, at),
      buffer,
      count: lines + (loss ? 1 : 0),
      id: randomFrameId(),
      first,
      lines,
      since,
      loss,
      tries: 0,
    };
  }

  #settle(frame: Pending, outcome: Outcome): void {
    this.#stream.touch();
    if (outcome === "delivered") {
      this.#failures = 0;
      this.#lastSuccess = Date.now();
      this.#reader.bound = this.#context.buffer;
      this.delivered += frame.lines;
      this.#release(frame);
      return;
    }
    if (outcome === "refused") {
      this.#drop(frame);
      return;
    }
    if (outcome === "unreachable") frame.tries -= 1;
    this.#failures += 1;
    if (this.#transport.hopeless(this.#failures, Date.now() - this.#lastSuccess)) {
      this.#reader.bound = Math.min(HOPELESS_BUFFER, this.#context.buffer);
    }
    if (frame.tries >= this.#transport.tries) this.#drop(frame);
    const pause = this.#transport.pause(this.#failures);
    // Also a pause of nothing gives the event loop its turn.
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#pump();
    }, pause);
  }

  /** Gives a frame up: its lines, and the loss that it told, are to be told with the next one. */
  #drop(frame: Pending): void {
    if (frame.lines > 0) this.#reader.lose(frame.lines, frame.since);
    if (frame.loss) this.#reader.untell(frame.loss);
    this.#release(frame);
  }

  #release(frame: Pending): void {
    this.#frame = null;
    if (spare.length < SPARE_FRAMES) spare.push(frame.buffer);
  }

  #owe(count: number, since: number): void {
    if (this.#untold.count === 0) this.#untold.since = since;
    this.#untold.count += count;
  }

  /** Called about once a second. */
  tick(now: number): void {
    this.#transport.tick(now);
    this.#reader.settle();
    if (this.#untold.count === 0) {
      if (now > this.#tellAt + TELL_MAX_MS) this.#tellPause = TELL_FIRST_MS;
      return;
    }
    if (now >= this.#tellAt) this.tell(now);
  }

  /** Tells the app's own stream what was lost since it was told last. */
  tell(now: number): void {
    const { count, since } = this.#untold;
    if (count === 0) return;
    this.#untold = { count: 0, since: 0 };
    this.#tellAt = now + this.#tellPause;
    this.#tellPause = Math.min(this.#tellPause * 2, TELL_MAX_MS);
    const name = `drain '${this.settings.token}'`;
    this.#stream.tell(
      Source.Logplex,
      "logplex",
      `Error L10 (output buffer overflow): ${name} dropped ${count} messages since ${stampText(since)}.`,
    );
  }

  #tellTrouble(trouble: Trouble): void {
    const now = Date.now();
    if (now < this.#troubleAt) return;
    this.#troubleAt = now + TROUBLE_MS;
    if (trouble.kind === "certificate") {
      const text = `Error L14 (certificate validation): error="bad certificate" uri="${this.#shown}"`;
      this.#stream.tell(Source.Certificate, "logplex", text);
    } else {
      const text = `Drain '${this.settings.token}' gets nothing: ${trouble.message} SLUICE_DRAIN_ALLOW_PRIVATE=1 allows such drains.`;
      this.#stream.tell(Source.Logplex, "logplex", text);
    }
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#pause) clearTimeout(this.#pause);
    this.#stream.followers.delete(this);
    this.#transport.close();
  }
}

/** 32 hex digits, drawn many at a time. */
let idBytes = Buffer.alloc(0);
let idAt = 0;
function randomFrameId(): string {
  if (idAt + 16 > idBytes.length) {
    idBytes = randomBytes(1024);
    idAt = 0;
  }
  idAt += 16;
  return idBytes.toString("hex", idAt - 16, idAt).toUpperCase();
}
