import { readTime } from "../clock.ts";
import { BODILESS, CHUNKED, type Client, type Exchange, type Tunnel, type TunnelClient } from "../front.ts";
import type { Anchor } from "./uws-anchor.ts";
import type { HttpResponse, us_socket_context_t } from "./uws-library.ts";

/** What the listener knows and every client of it shares. */
export interface UwsListener {
  readonly port: number;
  readonly tls: boolean;
  readonly anchor: Anchor;
  /** Responses whose 10 s clock of the library must be wound up again. */
  readonly wound: Set<UwsClient>;
}

/** What a WebSocket of the library carries. */
export interface UwsTunnel {
  tunnel: Tunnel;
  client: TunnelClient | null;
  attach: (client: TunnelClient) => void;
}

/** The client's side of one exchange, over a response of uWebSockets.js. */
export class UwsClient implements Client {
  readonly address: string;
  readonly protocol = "http1.1";
  closing = false;
  exchange: Exchange | null = null;
  #listener: UwsListener;
  #response: HttpResponse | null;
  #context: us_socket_context_t | null = null;
  #webSocketKey = "";
  /** The answer's length; CHUNKED, or BODILESS. */
  #length = 0;
  /** Bytes that the client did not take: at most what one read of the dyno brought. */
  #held: Buffer | null = null;
  #blocked = false;
  #bodyPaused = false;
  /** Within `cork`; what is written outside opens one for itself. */
  #corked = false;

  constructor(listener: UwsListener, response: HttpResponse, address: string) {
    this.#listener = listener;
    this.#response = response;
    this.address = address;
  }

  get port(): number {
    return this.#listener.port;
  }

  get tls(): boolean {
    return this.#listener.tls;
  }

  /** The answer has been given whole, or the connection is gone. */
  get finished(): boolean {
    return this.#response === null;
  }

  /** The library closed the connection, or the client did. */
  aborted(): void {
    if (this.#response === null) return;
    readTime();
    this.#done();
    this.exchange?.clientGone();
  }

  /** Nothing of the response may be touched from now on. */
  #done(): HttpResponse {
    const response = this.#response!;
    this.#response = null;
    this.#held = null;
    if (this.#listener.wound.size > 0) this.#listener.wound.delete(this);
    return response;
  }

  cork(work: () => void): void {
    const response = this.#response;
    if (response === null) {
      work();
      return;
    }
    this.#corked = true;
    response.cork(work);
    this.#corked = false;
  }

  answer(head: Uint8Array, length: number, first: Uint8Array | null): boolean {
    const response = this.#response;
    if (response === null) return true;
    if (!this.#corked) {
      let more = true;
      this.cork(() => {
        more = this.answer(head, length, first);
      });
      return more;
    }
    this.#length = length;
    // The library writes the status text as it is: with it go all of the dyno's header lines, as bytes.
    response.writeStatus(head);
    if (length === BODILESS) {
      this.#done();
      // It can close behind a body only, so a closing answer shows an empty one.
      if (this.closing) response.end("", true);
      else response.endWithoutBody();
      return true;
    }
    if (length === CHUNKED) return first === null || first.length === 0 || this.write(first);
    const have = first === null ? 0 : first.length;
    if (have === length) {
      if (have <= WHOLE_MOST) {
        this.#done();
        if (have === 0) response.end("", this.closing);
        else response.end(first!, this.closing);
        return true;
      }
      return this.#tryEnd(response, first!);
    }
    if (this.closing) {
      // The library closes behind `end` only, and that knows no length when parts went before.
      this.#length = CHUNKED;
      return have === 0 || this.write(first!);
    }
    // A first part of nothing would be taken for the whole.
    return have === 0 || this.#tryEnd(response, first!);
  }

  write(chunk: Uint8Array): boolean {
    const response = this.#response;
    if (response === null || chunk.length === 0) return true;
    if (!this.#corked) {
      let more = true;
      this.cork(() => {
        more = this.write(chunk);
      });
      return more;
    }
    if (this.#held !== null) {
      this.#held = Buffer.concat([this.#held, chunk]);
      return false;
    }
    if (this.#length !== CHUNKED) return this.#tryEnd(response, chunk);
    if (response.write(chunk)) return true;
    this.#block(response);
    return false;
  }

  /** Sends a part of a body with a length; what the client does not take is held. */
  #tryEnd(response: HttpResponse, chunk: Uint8Array): boolean {
    const before = response.getWriteOffset();
    const [ok, done] = response.tryEnd(chunk, this.#length);
    if (done) {
      this.#done();
      return true;
    }
    if (ok) return true;
    this.#held = Buffer.from(chunk.subarray(response.getWriteOffset() - before));
    this.#block(response);
    return false;
  }

  #block(response: HttpResponse): void {
    if (this.#blocked) return;
    this.#blocked = true;
    this.#listener.wound.add(this);
    response.onWritable(() => this.#writable());
  }

  #writable(): boolean {
    readTime();
    const response = this.#response;
    if (response === null || !this.#blocked) return true;
    if (this.#length === CHUNKED) return this.#chunkedWritable(response);
    const held = this.#held;
    if (held !== null) {
      this.#held = null;
      this.#blocked = false;
      if (!this.#tryEnd(response, held)) return false;
    }
    this.#unblock();
    return true;
  }

  #chunkedWritable(response: HttpResponse): boolean {
    // An empty cork sends what the library has buffered; one byte tells whether all of it went.
    response.cork(() => {});
    const held = this.#held;
    if (held !== null) {
      this.#held = null;
      if (!response.write(held.subarray(0, 1))) {
        if (held.length > 1) this.#held = held.subarray(1);
        return false;
      }
      if (held.length > 1 && !response.write(held.subarray(1))) return false;
    }
    this.#unblock();
    return true;
  }

  #unblock(): void {
    this.#blocked = false;
    this.#listener.wound.delete(this);
    this.exchange?.clientWritable();
  }

  end(): void {
    if (this.#response === null) return;
    const response = this.#done();
    response.cork(() => response.end(undefined, this.closing));
  }

  abort(): void {
    if (this.#response === null) return;
    this.#done().close();
  }

  pauseBody(): void {
    if (this.#response === null || this.#bodyPaused) return;
    this.#bodyPaused = true;
    this.#response.pause();
  }

  resumeBody(): void {
    if (this.#response === null) return;
    this.#listener.wound.add(this);
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    this.#response.resume();
  }

  /** The request's body has come whole: the library's clock stands until the answer. */
  bodyTaken(): void {
    if (!this.#blocked) this.#listener.wound.delete(this);
  }

  /** Starts the library's 10 s clock anew; it counts our waiting as the client's (design, section 5). */
  wind(): void {
    if (this.#response === null || this.#bodyPaused) return;
    this.#response.pause();
    this.#response.resume();
  }

  // ---- WebSocket ----

  /** Makes `accept` possible: the request came as a WebSocket's. */
  prepare(context: us_socket_context_t, key: string): void {
    this.#context = context;
    this.#webSocketKey = key;
  }

  accept(head: Uint8Array, protocol: string, tunnel: Tunnel): TunnelClient | null {
    if (this.#response === null || this.#context === null) return null;
    const response = this.#done();
    let client: TunnelClient | null = null;
    const data: UwsTunnel = {
      tunnel,
      client: null,
      attach: (opened) => {
        client = opened;
      },
    };
    const context = this.#context;
    this.#listener.anchor.cork(() => {
      response.writeStatus(Buffer.concat([SWITCHING, head]));
      // `open` is called before this returns.
      response.upgrade(data, this.#webSocketKey, protocol, "", context);
    });
    return client;
  }
}

const SWITCHING = Buffer.from("101 Switching Protocols");
/** A whole body up to this goes out by `end`, which buffers what the client does not take. */
const WHOLE_MOST = 64 * 1024;
