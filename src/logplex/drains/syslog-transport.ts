import type net from "node:net";
import { Connection } from "./connection.ts";
import type { Destination } from "./destination.ts";
import { type FrameForm, syslogForm } from "./frame-form.ts";
import type { Frame, Outcome, Transport, TransportOptions } from "./transport.ts";

/** Heroku writes about 4 KiB; more a write costs fewer calls, and looks the same on a stream. */
const FRAME_BYTES = 64 * 1024;
const SEND_MS = 4000;
const IDLE_MS = 240_000;
const RETRY_FIRST_MS = 30_000;
const RETRY_MAX_MS = 300_000;
/** A connection that stood this long was a good one: the next is made at once. */
const LASTED_MS = 1000;
const HOPELESS_TRIES = 10;

/** Syslog over TCP or TLS: RFC 5424 messages, octet counted (RFC 6587). */
export class SyslogTransport implements Transport {
  readonly form: FrameForm;
  readonly frameBytes = FRAME_BYTES;
  /** A frame is sent until it is taken: the buffer behind it decides what is lost. */
  readonly tries = Number.POSITIVE_INFINITY;
  #connection: Connection;
  #busy = false;
  #lasted = false;

  constructor(destination: Destination, drainToken: string, options: TransportOptions) {
    this.form = syslogForm(drainToken);
    this.#connection = new Connection(destination, options, IDLE_MS);
  }

  pause(failures: number): number {
    const attempt = this.#lasted ? failures - 1 : failures;
    return attempt < 1 ? 0 : Math.min(RETRY_FIRST_MS * 2 ** (attempt - 1), RETRY_MAX_MS);
  }

  hopeless(failures: number): boolean {
    return failures >= HOPELESS_TRIES;
  }

  send(frame: Frame): Outcome | Promise<Outcome> {
    const { socket } = this.#connection;
    if (!socket) return this.#open(frame);
    this.#connection.used();
    const written = this.#write(socket, frame);
    // The kernel took it all within the call: nothing to wait for.
    return socket.writableLength === 0 && !socket.destroyed ? "delivered" : written;
  }

  async #open(frame: Frame): Promise<Outcome> {
    this.#busy = true;
    const socket = await this.#connection.open();
    this.#busy = false;
    if (!socket) return "unreachable";
    this.#lasted = false;
    const { openedAt } = this.#connection;
    socket.on("close", () => {
      this.#lasted = Date.now() - openedAt >= LASTED_MS;
    });
    // What a peer says is of no interest; its end is noticed only by reading.
    socket.resume();
    return this.#write(socket, frame);
  }

  #write(socket: net.Socket, frame: Frame): Promise<Outcome> {
    let settle: (outcome: Outcome) => void;
    const result = new Promise<Outcome>((resolve) => {
      settle = resolve;
    });
    let timer: NodeJS.Timeout | null = null;
    const done = (outcome: Outcome): void => {
      if (timer) clearTimeout(timer);
      socket.off("close", onClose);
      this.#busy = false;
      settle(outcome);
    };
    const onClose = (): void => done("failed");
    socket.write(frame.bytes, (error) => done(error ? "failed" : "delivered"));
    if (socket.writableLength > 0 || socket.destroyed) {
      this.#busy = true;
      socket.once("close", onClose);
      timer = setTimeout(() => this.#connection.destroy(), SEND_MS);
    }
    return result;
  }

  tick(now: number): void {
    if (!this.#busy) this.#connection.tick(now);
  }

  close(): void {
    this.#connection.close();
  }
}
