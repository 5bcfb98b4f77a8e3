import type net from "node:net";
import { type ErrorCode, H15, H18 } from "./codes.ts";
import type { RequestExchange } from "./exchange.ts";
import type { Tunnel, TunnelClient } from "./front.ts";
import { MESSAGE_LIMIT } from "./limits.ts";

/** Opcodes of RFC 6455, section 5.2. */
const Op = { Continue: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const;

/** Close codes of section 7.4.1. */
const GOING_AWAY = 1001;
const PROTOCOL_ERROR = 1002;
const TOO_BIG = 1009;
const NO_CODE = 1005;
const ABNORMAL = 1006;

const NOTHING = Buffer.alloc(0);
/** Frame header, length and mask at their longest. */
const HEAD_MOST = 14;

/**
 * Relays messages between a client and a dyno: the front speaks RFC 6455 with the client, this speaks it with
 * the dyno, as its client. Messages are relayed whole, at most MESSAGE_LIMIT bytes.
 */
export class WebSocketTunnel implements Tunnel {
  #exchange: RequestExchange;
  #socket: net.Socket;
  #client: TunnelClient | null = null;
  /** A frame that reads have cut. */
  #rest: Buffer | null = null;
  #filled = 0;
  /** A message in fragments. */
  #fragments: Buffer[] = [];
  #fragmentBytes = 0;
  #binary = false;
  #inMessage = false;
  #closeSent = false;

  constructor(exchange: RequestExchange, socket: net.Socket) {
    this.#exchange = exchange;
    this.#socket = socket;
  }

  /** The client's side stands; frames that the dyno sent with its 101 follow at once. */
  open(client: TunnelClient): void {
    this.#client = client;
  }

  // ---- From the dyno ----

  fromDyno(bytes: Buffer): void {
    this.#exchange.touch();
    let data = bytes;
    if (this.#rest !== null) {
      const need = this.#filled + bytes.length;
      if (need > this.#rest.length) {
        const grown = Buffer.allocUnsafe(Math.max(need, Math.min(this.#rest.length * 2, MESSAGE_LIMIT)));
        this.#rest.copy(grown, 0, 0, this.#filled);
        this.#rest = grown;
      }
      bytes.copy(this.#rest, this.#filled);
      this.#filled = need;
      data = this.#rest.subarray(0, need);
    }
    let at = 0;
    while (this.#client !== null) {
      const next = this.#frame(data, at);
      if (next === at) break;
      at = next;
    }
    if (this.#client === null || at === data.length) {
      this.#rest = null;
      this.#filled = 0;
    } else if (this.#rest === null || at > 0) {
      this.#rest = Buffer.from(data.subarray(at));
      this.#filled = this.#rest.length;
    }
  }

  /** Handles the frame at `at` when it is whole; returns where the next one begins, or `at`. */
  #frame(data: Buffer, at: number): number {
    const have = data.length - at;
    if (have < 2) return at;
    const first = data[at]!;
    const second = data[at + 1]!;
    let length = second & 0x7f;
    let head = 2;
    if (length === 126) {
      if (have < 4) return at;
      length = data.readUInt16BE(at + 2);
      head = 4;
    } else if (length === 127) {
      if (have < 10) return at;
      length = data.readUInt32BE(at + 2) * 2 ** 32 + data.readUInt32BE(at + 6);
      head = 10;
    }
    // A server's frames are not masked, and no extension was agreed on.
    if ((second & 0x80) !== 0 || (first & 0x70) !== 0) return this.#fail(PROTOCOL_ERROR, data.length);
    if (length + this.#fragmentBytes > MESSAGE_LIMIT) return this.#fail(TOO_BIG, data.length);
    if (have < head + length) return at;
    const payload = data.subarray(at + head, at + head + length);
    const opcode = first & 0x0f;
    const last = (first & 0x80) !== 0;
    if (opcode >= 8) {
      if (!last || length > 125) return this.#fail(PROTOCOL_ERROR, data.length);
      this.#control(opcode, payload);
    } else if (!this.#data(opcode, last, payload)) return this.#fail(PROTOCOL_ERROR, data.length);
    return at + head + length;
  }

  #data(opcode: number, last: boolean, payload: Buffer): boolean {
    if (opcode === Op.Continue ? !this.#inMessage : this.#inMessage || opcode > 2) return false;
    this.#exchange.bytes += payload.length;
    if (opcode !== Op.Continue) this.#binary = opcode === Op.Binary;
    if (!last) {
      this.#inMessage = true;
      this.#fragments.push(Buffer.from(payload));
      this.#fragmentBytes += payload.length;
      return true;
    }
    let message = payload;
    if (this.#inMessage) {
      message = Buffer.concat([...this.#fragments, payload]);
      this.#fragments = [];
      this.#fragmentBytes = 0;
      this.#inMessage = false;
    }
    if (!this.#client!.send(message, this.#binary)) this.#socket.pause();
    return true;
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === Op.Ping) {
      // The edge answers for the dyno's sake, and passes it on: the client's pong comes back by itself.
      this.#client!.ping(payload);
    } else if (opcode === Op.Close) {
      const client = this.#client!;
      const code = payload.length >= 2 ? payload.readUInt16BE(0) : NO_CODE;
      this.#client = null;
      this.#sendClose(code, payload.subarray(2));
      client.close(code, Buffer.from(payload.subarray(2)));
      this.#exchange.tunnelEnded(null);
    } else if (opcode !== Op.Pong) this.#fail(PROTOCOL_ERROR, 0);
  }

  /** The dyno broke the protocol. */
  #fail(code: number, end: number): number {
    const client = this.#client;
    this.#client = null;
    this.#sendClose(code, NOTHING);
    client?.close(code, NOTHING);
    this.#exchange.tunnelEnded(H18);
    return end;
  }

  dynoClosed(): void {
    const client = this.#client;
    this.#client = null;
    // No close frame came, so the client is shown none.
    client?.abort();
    this.#exchange.tunnelEnded(null);
  }

  dynoWritable(): void {}

  // ---- From the client ----

  clientMessage(message: Uint8Array, binary: boolean): void {
    if (this.#client === null) return;
    this.#exchange.touch();
    this.#send(binary ? Op.Binary : Op.Text, message);
    // The front cannot pause a WebSocket: a dyno that does not read is cut off before memory is.
    if (this.#socket.writableLength > MESSAGE_LIMIT * 2) this.#cut(H18);
  }

  clientPing(payload: Uint8Array): void {
    this.#exchange.touch();
    if (this.#client !== null) this.#send(Op.Ping, payload);
  }

  clientPong(payload: Uint8Array): void {
    this.#exchange.touch();
    if (this.#client !== null) this.#send(Op.Pong, payload);
  }

  clientClosed(code: number, reason: Uint8Array): void {
    if (this.#client === null) return;
    this.#client = null;
    this.#sendClose(code === ABNORMAL ? GOING_AWAY : code, reason);
    this.#exchange.tunnelEnded(null);
  }

  tunnelWritable(): void {
    if (this.#client !== null) this.#socket.resume();
  }

  // ---- Ends ----

  /** Neither side has said a byte for the rolling time. */
  idle(): void {
    this.#cut(H15);
  }

  /** The worker stops. */
  goAway(): void {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    this.#sendClose(GOING_AWAY, NOTHING);
    client.close(GOING_AWAY, NOTHING);
    this.#exchange.tunnelEnded(null);
  }

  #cut(code: ErrorCode): void {
    const client = this.#client;
    this.#client = null;
    client?.abort();
    this.#exchange.tunnelEnded(code);
  }

  // ---- To the dyno ----

  #sendClose(code: number, reason: Uint8Array): void {
    if (this.#closeSent) return;
    this.#closeSent = true;
    if (code === NO_CODE) {
      this.#send(Op.Close, NOTHING);
      return;
    }
    const payload = Buffer.allocUnsafe(2 + reason.length);
    payload.writeUInt16BE(code, 0);
    payload.set(reason, 2);
    this.#send(Op.Close, payload);
  }

  #send(opcode: number, payload: Uint8Array): void {
    const frame = Buffer.allocUnsafe(HEAD_MOST + payload.length);
    frame[0] = 0x80 | opcode;
    let at = 2;
    if (payload.length < 126) frame[1] = 0x80 | payload.length;
    else if (payload.length < 65536) {
      frame[1] = 0x80 | 126;
      at = frame.writeUInt16BE(payload.length, 2);
    } else {
      frame[1] = 0x80 | 127;
      frame.writeUInt32BE(0, 2);
      at = frame.writeUInt32BE(payload.length, 6);
    }
    // The mask guards caches against scripts in browsers; on this link there is neither, so it is zero.
    at = frame.writeUInt32BE(0, at);
    frame.set(payload, at);
    this.#socket.write(frame.subarray(0, at + payload.length));
  }
}
