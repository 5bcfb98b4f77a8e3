import { readTime } from "../clock.ts";
import type { Front, Pipeline, TunnelClient } from "../front.ts";
import { MESSAGE_LIMIT, TUNNEL_HIGH_WATER } from "../limits.ts";
import { RequestHead } from "../request-head.ts";
import type { Anchor } from "./uws-anchor.ts";
import { UwsClient, type UwsListener, type UwsTunnel } from "./uws-client.ts";
import {
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  type us_socket_context_t,
  uws,
  type WebSocket,
} from "./uws-library.ts";

/** Well below the library's own 10 s. */
const WIND_MS = 4000;
/** Bytes that the library may buffer for a WebSocket client; the tunnel stops long before. */
const TUNNEL_MOST = MESSAGE_LIMIT * 2;

/** The uWebSockets.js front: HTTP/1.1, plain or over TLS. */
export class UwsFront implements Front, UwsListener {
  port = 0;
  readonly tls: boolean;
  readonly wound = new Set<UwsClient>();
  readonly app: TemplatedApp;
  readonly anchor: Anchor;
  #pipeline: Pipeline;
  #listener: us_listen_socket | null = null;
  #winder: NodeJS.Timeout;
  /** The last peer's binary address and its text: a keep-alive client, or a balancer, is the same again and again. */
  #lastAddress = -1;
  #lastText = "";
  /** The head whose fields the library is telling; one function for all, not one a request. */
  #reading: RequestHead | null = null;
  #readField = (name: string, value: string): void => this.#reading!.add(name, value);

  /** @param app of the library, plain or TLS; its routes are set here. */
  constructor(pipeline: Pipeline, anchor: Anchor, app: TemplatedApp, tls: boolean) {
    this.#pipeline = pipeline;
    this.anchor = anchor;
    this.tls = tls;
    this.app = app;
    this.route(app);
    this.#winder = setInterval(() => {
      for (const client of this.wound) client.wind();
    }, WIND_MS).unref();
  }

  /** Sets the routes of `app`; a TLS app needs it for each of its server names. */
  route(app: TemplatedApp): void {
    app.any("/*", (response, request) => this.#request(response, request, null));
    app.ws<UwsTunnel>("/*", {
      maxPayloadLength: MESSAGE_LIMIT,
      maxBackpressure: TUNNEL_MOST,
      // The contract's 55 s are the exchange's own clock.
      idleTimeout: 0,
      sendPingsAutomatically: false,
      upgrade: (response, request, context) => this.#request(response, request, context),
      open: (socket) => {
        const data = socket.getUserData();
        data.client = new UwsTunnelClient(socket);
        data.attach(data.client);
      },
      message: (socket, message, binary) =>
        socket.getUserData().tunnel.clientMessage(new Uint8Array(message), binary),
      ping: (socket, payload) => socket.getUserData().tunnel.clientPing(new Uint8Array(payload)),
      pong: (socket, payload) => socket.getUserData().tunnel.clientPong(new Uint8Array(payload)),
      drain: (socket) => {
        if (socket.getBufferedAmount() < TUNNEL_HIGH_WATER) socket.getUserData().tunnel.tunnelWritable();
      },
      close: (socket, code, reason) => {
        const { client, tunnel } = socket.getUserData();
        (client as UwsTunnelClient).gone();
        tunnel.clientClosed(code, new Uint8Array(reason));
      },
    });
  }

  /** Listens; false when the port is taken or may not be bound. The port must be named: see `freePort`. */
  listen(host: string, port: number): boolean {
    this.app.listen(host, port, (socket) => {
      if (socket) this.#listener = socket;
    });
    if (this.#listener === null) return false;
    this.port = uws.us_socket_local_port(this.#listener as never);
    return true;
  }

  closeListener(): void {
    if (this.#listener !== null) uws.us_listen_socket_close(this.#listener);
    this.#listener = null;
  }

  close(): void {
    this.closeListener();
    clearInterval(this.#winder);
    this.app.close();
  }

  #request(response: HttpResponse, request: HttpRequest, context: us_socket_context_t | null): void {
    readTime();
    const query = request.getQuery() as string | undefined;
    const path = request.getUrl();
    const head = new RequestHead(
      request.getCaseSensitiveMethod(),
      query === undefined ? path : `${path}?${query}`,
    );
    this.#reading = head;
    request.forEach(this.#readField);
    head.finish();
    const client = new UwsClient(this, response, this.#address(response));
    // The library knows no other upgrade, and reads trailers as the next request.
    if (context === null) head.upgrade = "";
    else client.prepare(context, head.webSocketKey);
    if (head.length === -1) client.closing = true;
    response.onAborted(() => client.aborted());
    if (head.length !== -1 || head.refusal !== null) {
      client.exchange = this.#pipeline.begin(head, client);
      if (head.length === 0 || client.finished) return;
    }
    this.wound.add(client);
    response.onData((chunk, last) => {
      readTime();
      // A chunked body begins to be a request when its first chunk stands: a bad one never reaches a dyno.
      client.exchange ??= this.#pipeline.begin(head, client);
      if (last) client.bodyTaken();
      client.exchange.clientBody(new Uint8Array(chunk), last);
    });
  }

  #address(response: HttpResponse): string {
    const binary = response.getRemoteAddress();
    if (binary.byteLength === 4) {
      const number = new Uint32Array(binary)[0]!;
      if (number !== this.#lastAddress) {
        this.#lastAddress = number;
        this.#lastText = new Uint8Array(binary).join(".");
      }
      return this.#lastText;
    }
    const text = Buffer.from(response.getRemoteAddressAsText()).toString("latin1");
    return text.startsWith(MAPPED) ? mappedIPv4(text) : text;
  }
}

/** The library writes IPv6 addresses in full. */
const MAPPED = "0000:0000:0000:0000:0000:ffff:";

function mappedIPv4(text: string): string {
  const hex = text.slice(MAPPED.length).replace(":", "");
  return [0, 2, 4, 6].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join(".");
}

class UwsTunnelClient implements TunnelClient {
  #socket: WebSocket<UwsTunnel> | null;

  constructor(socket: WebSocket<UwsTunnel>) {
    this.#socket = socket;
  }

  gone(): void {
    this.#socket = null;
  }

  send(message: Uint8Array, binary: boolean): boolean {
    const socket = this.#socket;
    if (socket === null) return true;
    socket.send(message, binary);
    return socket.getBufferedAmount() < TUNNEL_HIGH_WATER;
  }

  ping(payload: Uint8Array): void {
    this.#socket?.ping(payload);
  }

  close(code: number, reason: Uint8Array): void {
    const socket = this.#socket;
    this.#socket = null;
    // 1005 is never sent: it stands for a close without a code.
    if (code === 1005) socket?.end();
    else socket?.end(code, reason);
  }

  abort(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
