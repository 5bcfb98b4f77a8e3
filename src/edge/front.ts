import type { RequestHead } from "./request-head.ts";

/** An answer without a known length: the front codes it in chunks. */
export const CHUNKED = -1;
/** An answer that has no body, whatever its headers say: HEAD, 204, 304. */
export const BODILESS = -2;

/**
 * The client's side of one exchange, as a front gives it to the pipeline. Bytes handed over are valid during the
 * call only. After `end`, `abort`, or the pipeline's `clientGone`, nothing may be called.
 */
export interface Client {
  /** Text of the peer's IP address. */
  readonly address: string;
  /** Port that the request came in at. */
  readonly port: number;
  readonly tls: boolean;
  /** `http1.1` or `http2.0`, for the log. */
  readonly protocol: string;
  /** Set: the connection is closed behind this answer. */
  closing: boolean;
  /** Runs `work` so that everything it writes goes out in one call of the system. */
  cork(work: () => void): void;
  /**
   * Sends the head (`200 OK\r\nName: value…`, without framing, Date and the last CRLF) and the first bytes of
   * the body. `length` is the body's, or CHUNKED, or BODILESS. A body that is complete with `first` is ended by
   * this call, and so is a bodiless one. False: wait for `clientWritable` before more is written.
   */
  answer(head: Uint8Array, length: number, first: Uint8Array | null): boolean;
  /** Sends more of the body. False: wait for `clientWritable` before more is written. */
  write(chunk: Uint8Array): boolean;
  /** Ends the body, if it has not ended with its last byte. */
  end(): void;
  /** Cuts the connection. */
  abort(): void;
  /** Stops and goes on reading the request's body. */
  pauseBody(): void;
  resumeBody(): void;
  /** Answers 101 with `head` as its extra lines, and gives the tunnel to the client, which calls `tunnel` from now on. */
  accept(head: Uint8Array, protocol: string, tunnel: Tunnel): TunnelClient | null;
}

/** The client's end of a WebSocket. */
export interface TunnelClient {
  /** Sends one message; false when more than the high water is waiting: stop until `tunnelWritable`. */
  send(message: Uint8Array, binary: boolean): boolean;
  ping(payload: Uint8Array): void;
  close(code: number, reason: Uint8Array): void;
  /** Cuts the connection without a close frame. */
  abort(): void;
}

/** What the client's end of a WebSocket tells the pipeline. */
export interface Tunnel {
  clientMessage(message: Uint8Array, binary: boolean): void;
  clientPing(payload: Uint8Array): void;
  clientPong(payload: Uint8Array): void;
  /** The client closed; 1005 without a code, 1006 without a close frame. Nothing may be sent to it any more. */
  clientClosed(code: number, reason: Uint8Array): void;
  tunnelWritable(): void;
}

/** What a front tells of one exchange. */
export interface Exchange {
  /** Bytes of the request's body, valid during the call; `last` with the last (possibly empty) one. */
  clientBody(chunk: Uint8Array, last: boolean): void;
  /** The client takes bytes again. */
  clientWritable(): void;
  /** The client closed before the answer's end. */
  clientGone(): void;
}

/** Where a front brings requests. */
export interface Pipeline {
  /** Begins an exchange; the front calls `clientBody` on it when the request has a body. */
  begin(request: RequestHead, client: Client): Exchange;
}

/** A listener for one port. */
export interface Front {
  /** The real port. */
  readonly port: number;
  /** Takes no new connections; open ones go on. */
  closeListener(): void;
  /** Cuts every connection. */
  close(): void;
}

/** A certificate for TLS fronts; PEM. */
export interface Certificate {
  id: string;
  hosts: string[];
  certificate: string;
  key: string;
  fallback: boolean;
}
