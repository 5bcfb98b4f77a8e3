import type net from "node:net";
import type { Client } from "./front.ts";

const CRLF = Buffer.from("\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/**
 * The body of one request on its way to the dyno. A read of the client is handed on as it comes; while there is
 * no dyno yet, or it takes no more bytes, no more is read.
 */
export class Upload {
  /** The front has given the last byte. */
  taken = false;
  /** A byte of it has gone to a dyno, so the request cannot be sent again. */
  begun = false;
  /** The dyno takes no bytes, and the client is held. */
  blocked = false;
  #client: Client;
  #chunked: boolean;
  #waiting: Buffer[] = [];

  constructor(client: Client, chunked: boolean) {
    this.#client = client;
    this.#chunked = chunked;
  }

  /** Keeps a read until there is a dyno. */
  keep(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#waiting.push(Buffer.from(chunk));
    if (!this.taken) this.#client.pauseBody();
  }

  /** Writes what was kept behind the head, which `socket` holds corked. */
  start(socket: net.Socket): void {
    for (const chunk of this.#waiting) this.#write(socket, chunk);
    this.#waiting = [];
    if (this.taken) this.#end(socket);
  }

  /** Reads on after `start`. */
  resume(): void {
    if (!this.taken && !this.blocked) this.#client.resumeBody();
  }

  /** Writes one read; it is the last when all is taken. */
  send(socket: net.Socket, chunk: Uint8Array): void {
    if (chunk.length > 0) {
      socket.cork();
      this.#write(socket, Buffer.from(chunk));
      if (this.taken) this.#end(socket);
      socket.uncork();
    } else if (this.taken) this.#end(socket);
    if (!this.taken && socket.writableNeedDrain) {
      this.blocked = true;
      this.#client.pauseBody();
    }
  }

  /** The dyno takes bytes again; true when there are more to come. */
  drained(): boolean {
    if (!this.blocked) return false;
    this.blocked = false;
    this.resume();
    return !this.taken;
  }

  /** Lets go of what was kept. */
  drop(): void {
    this.#waiting = [];
  }

  #write(socket: net.Socket, chunk: Buffer): void {
    this.begun = true;
    if (this.#chunked) {
      socket.write(`${chunk.length.toString(16)}\r\n`, "latin1");
      socket.write(chunk);
      socket.write(CRLF);
    } else socket.write(chunk);
  }

  #end(socket: net.Socket): void {
    if (this.#chunked) socket.write(LAST_CHUNK);
  }
}
