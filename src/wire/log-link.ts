import net from "node:net";
import { pack } from "msgpackr";
import { encodeFrame, FrameReader } from "./frame.ts";
import {
  BATCH_HEAD,
  LOG_ACK,
  LOG_BATCH,
  LOG_HELLO,
  LOG_LOST,
  LOG_NAME,
  type LogHello,
  type LogLost,
  type LogName,
} from "./log-batch.ts";

/** A cut batch that waits for its acknowledgement: one whole frame. */
export interface KeptBatch {
  number: number;
  frame: Buffer<ArrayBuffer>;
}

const RECONNECT_FIRST_MS = 20;
const RECONNECT_MAX_MS = 1000;
/** Bytes handed to the socket and not yet taken by the kernel; a Logplex that stands still holds no more than this. */
const IN_SOCKET = 512 * 1024;
/** The Logplex sends acknowledgements only. */
const ANSWER_LIMIT = 64;

/** What the sender gives to its link. */
export interface LogLinkOwner {
  /** Every handle so far: said first on each connection. */
  names(): Iterable<LogName>;
  /** A new connection stands; the names are out, the batches follow. */
  onOpen(): void;
  /** The Logplex has taken the batches up to this number. */
  onAck(number: number): void;
  /** The socket has room again; batches follow. */
  onDrain(): void;
  /** Batches that were not acknowledged, oldest first; the link sends those from `sent` on. */
  kept: KeptBatch[];
}

/** A sender's connection to the Logplex, made again whenever it breaks, until `close`. */
export class LogLink {
  #path: string;
  #sender: string;
  #owner: LogLinkOwner;
  #socket: net.Socket | null = null;
  #delay = RECONNECT_FIRST_MS;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  /** How many of the kept batches are on their way on this connection. */
  sent = 0;
  /** True while connected. */
  open = false;

  constructor(path: string, sender: string, owner: LogLinkOwner) {
    this.#path = path;
    this.#sender = sender;
    this.#owner = owner;
    this.#connect();
  }

  /** Writes the frame's head and the batch number in front of the records, which end at `end`. */
  static writeBatchHead(view: DataView, end: number, number: number): void {
    view.setUint32(0, end - 4);
    view.setUint8(4, LOG_BATCH);
    view.setUint32(5, number);
  }

  #connect(): void {
    const socket = net.connect({ path: this.#path });
    const reader = new FrameReader(ANSWER_LIMIT, (kind, body) => {
      if (kind === LOG_ACK && body.length === BATCH_HEAD) this.#owner.onAck(body.readUInt32BE(0));
    });
    socket.on("connect", () => {
      this.#socket = socket;
      this.open = true;
      this.#delay = RECONNECT_FIRST_MS;
      const hello: LogHello = { sender: this.#sender };
      socket.write(encodeFrame(LOG_HELLO, pack(hello)));
      for (const name of this.#owner.names()) this.name(name);
      this.#owner.onOpen();
      this.pump();
    });
    socket.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        socket.destroy();
      }
    });
    socket.on("drain", () => {
      this.#owner.onDrain();
      this.pump();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#socket = null;
      this.open = false;
      this.sent = 0;
      if (this.#closed) return;
      this.#timer = setTimeout(() => this.#connect(), this.#delay);
      this.#delay = Math.min(this.#delay * 2, RECONNECT_MAX_MS);
    });
  }

  /** Says a handle; without a connection nothing, since all are said when it opens. */
  name(name: LogName): void {
    this.#socket?.write(encodeFrame(LOG_NAME, pack(name)));
  }

  /** Says what was dropped. */
  lost(lost: LogLost): void {
    this.#socket?.write(encodeFrame(LOG_LOST, pack(lost)));
  }

  /** Sends the batches that are due, as far as the socket takes them. */
  pump(): void {
    const socket = this.#socket;
    if (!socket) return;
    const { kept } = this.#owner;
    while (this.sent < kept.length && socket.writableLength < IN_SOCKET) {
      socket.write(kept[this.sent]!.frame);
      this.sent += 1;
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#socket?.destroy();
  }
}
