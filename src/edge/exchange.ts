import { affinityCookie } from "./affinity.ts";
import type { AnswerHead } from "./answer-head.ts";
import type { App } from "./app.ts";
import { mayTryAgain } from "./choose.ts";
import { type Clock, readTime, Timed, time } from "./clock.ts";
import { type ErrorCode, H12, H13, H15, H17, H18, H19, H20, H21, H24, H27, H28, H80, H99 } from "./codes.ts";
import { writeLatin1 } from "./direct-write.ts";
import type { Dyno } from "./dyno.ts";
import { DynoConnection, type DynoUser } from "./dyno-connection.ts";
import { dynoRequest } from "./dyno-request.ts";
import { BODILESS, CHUNKED, type Client, type Exchange } from "./front.ts";
import { FRESH_IDLE_MS } from "./limits.ts";
import { APPLICATION_ERROR, framed, MAINTENANCE, NO_SUCH_APP, refused } from "./pages.ts";
import { CHOOSE, LOOK_UP, STAGES } from "./pipeline.ts";
import type { Refusal, RequestHead } from "./request-head.ts";
import { Upload } from "./upload.ts";
import { WebSocketTunnel } from "./websocket.ts";
import type { Worker } from "./worker.ts";

/** Methods that may be sent again when a reused connection died under them (RFC 9110, 9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const VIA = Buffer.from("\r\nVia: 1.1 heroku-router");
const SERVER_AND_VIA = Buffer.from("\r\nServer: Heroku\r\nVia: 1.1 heroku-router");

/** One request and its answer: what has been decided, how far both ways have come, and what may still happen. */
export class RequestExchange extends Timed implements Exchange, DynoUser {
  readonly worker: Worker;
  readonly request: RequestHead;
  readonly client: Client;
  readonly requestId: string;
  /** When the request came: milliseconds since the epoch, and on `performance.now()`'s clock. */
  readonly startedAt = time.wall;
  readonly #started = time.now;
  /** Place among the worker's open exchanges. */
  place = 0;
  readonly bodiless: boolean;
  app: App | null = null;
  dyno: Dyno | null = null;
  connection: DynoConnection | null = null;

  // Choosing and connecting.
  counted = false;
  attempts = 0;
  connectTimedOut = false;
  connectSince = 0;
  pause = 0;
  /** The affinity cookie named the dyno. */
  sticky = false;
  #stage = 0;
  #retried = false;
  #connectedAt = 0;

  // Sending.
  /** The request's body; null when it has none. */
  readonly #upload: Upload | null;
  #headSent = false;

  // The answer.
  status = 0;
  /** Bytes of body given to the client; -1 shows as nothing. */
  bytes = -1;
  connectMs = -1;
  serviceMs = -1;
  #answered = false;
  #clientBlocked = false;
  #dynoDone = false;
  #tunnel: WebSocketTunnel | null = null;
  ended = false;

  constructor(worker: Worker, request: RequestHead, client: Client) {
    super();
    this.worker = worker;
    this.request = request;
    this.client = client;
    this.requestId = request.requestId === "" ? worker.requestId() : request.requestId;
    this.bodiless = request.method === "HEAD";
    this.#upload = request.length === 0 ? null : new Upload(client, request.length === -1);
    worker.open.add(this);
    if (worker.stopping) client.closing = true;
  }

  /** Runs the stages from where the exchange stands. */
  advance(): void {
    while (!this.ended && this.#stage < STAGES.length && STAGES[this.#stage]!(this)) this.#stage++;
  }

  enter(app: App): boolean {
    if (this.app !== app) {
      this.#leaveApp();
      this.app = app;
    }
    return true;
  }

  /** Counts the request among the app's open ones; false when there are `most` already. */
  count(most: number): boolean {
    if (this.app!.open >= most) return false;
    this.app!.open++;
    this.counted = true;
    return true;
  }

  #leaveApp(): void {
    if (this.app !== null && this.app.waiting.size > 0) this.app.waiting.delete(this);
    if (this.counted) this.app!.open--;
    this.counted = false;
  }

  /** Waits until the app's record changes, at most the app's boot time in all. */
  awaitBoot(): void {
    this.#stage = LOOK_UP;
    this.app!.waiting.add(this);
    if (this.clock === null) {
      this.worker.wheel.clock("boot", this.app!.route.bootSeconds * 1000).start(this);
    }
  }

  // ---- Connecting ----

  /** Takes a connection to `dyno`; true when it can be written to at once. */
  connect(dyno: Dyno): boolean {
    this.dyno = dyno;
    this.clock?.stop(this);
    dyno.enter();
    const idle = this.#retried ? null : this.#idleConnection(dyno);
    if (idle !== null) {
      this.connection = idle;
      idle.use(this);
      return true;
    }
    if (this.connectSince === 0) this.connectSince = time.now;
    this.connection = new DynoConnection(dyno, this);
    this.worker.clocks.connect.start(this);
    return false;
  }

  #idleConnection(dyno: Dyno): DynoConnection | null {
    const fresh = dyno.take(FRESH_IDLE_MS);
    if (fresh !== null || !IDEMPOTENT.has(this.request.method)) return fresh;
    return dyno.take(Number.POSITIVE_INFINITY);
  }

  dynoConnected(): void {
    this.clock?.stop(this);
    this.connection!.use(this);
    this.#stage = CHOOSE + 1;
    this.advance();
  }

  dynoUnreachable(code: string): void {
    this.clock?.stop(this);
    const dyno = this.dyno!;
    dyno.quarantinedUntil = time.now + this.worker.durations.quarantine;
    this.connectTimedOut = code === "ETIMEDOUT" || code === "EHOSTUNREACH" || code === "ENETUNREACH";
    this.attempts++;
    this.#dropConnection();
    // Too few descriptors or ports here is no fault of the dyno.
    if (code === "EMFILE" || code === "ENFILE" || code === "EADDRNOTAVAIL") {
      dyno.quarantinedUntil = 0;
      this.fail(H99);
      return;
    }
    if (!mayTryAgain(this)) {
      this.connectMs = Math.round(time.now - this.#started);
      this.fail(this.connectTimedOut ? H19 : H21);
      return;
    }
    this.#stage = LOOK_UP;
    this.advance();
  }

  // ---- Sending the request ----

  /** Writes the head, and what has come of the body. */
  send(): boolean {
    const { request, worker } = this;
    this.#connectedAt = time.now;
    this.connectMs = Math.round(time.now - this.#started);
    const socket = this.connection!.socket;
    const head = dynoRequest(this);
    this.#headSent = true;
    const upload = this.#upload;
    if (upload === null) {
      if (request.wide) socket.write(head, "utf8");
      else writeLatin1(socket, head);
      worker.clocks.firstByte.start(this);
      return true;
    }
    socket.cork();
    socket.write(head, request.wide ? "utf8" : "latin1");
    upload.start(socket);
    socket.uncork();
    (upload.taken ? worker.clocks.firstByte : worker.clocks.rolling).start(this);
    upload.resume();
    return true;
  }

  clientBody(chunk: Uint8Array, last: boolean): void {
    const upload = this.#upload;
    if (this.ended || upload === null) return;
    if (last) upload.taken = true;
    if (!this.#headSent) {
      upload.keep(chunk);
      return;
    }
    // The dyno has answered and gone; what the client still sends is of no use.
    if (this.connection === null) return;
    upload.send(this.connection.socket, chunk);
    const { clocks } = this.worker;
    if (last && !this.#answered) clocks.firstByte.start(this);
    else if (chunk.length > 0) clocks.rolling.start(this);
  }

  dynoDrain(): void {
    if (this.#tunnel !== null) this.#tunnel.dynoWritable();
    else if (!this.ended && this.#upload?.drained()) this.worker.clocks.rolling.start(this);
  }

  // ---- The answer ----

  cork(work: () => void): void {
    // An upgrade must not be made while the client is corked; see fronts/uws-anchor.ts.
    if (this.ended || this.request.upgrade !== "") work();
    else this.client.cork(work);
  }

  dynoHead(head: AnswerHead, length: number, first: Uint8Array | null): void {
    this.status = head.status;
    if (head.status === 101) {
      this.#upgrade(head);
      return;
    }
    this.#answered = true;
    this.bytes = 0;
    const app = this.app!;
    head.appendBytes(head.hasServer ? VIA : SERVER_AND_VIA);
    if (app.route.affinity && !this.sticky) head.append(affinityCookie(this.dyno!, this.request.host));
    if (this.bodiless || head.status === 204 || head.status === 304) {
      if (head.status !== 204) {
        if (length >= 0) head.append(`\r\nContent-Length: ${length}`);
        else if (head.chunked) head.append("\r\nTransfer-Encoding: chunked");
      }
      this.client.answer(head.lines, BODILESS, null);
      return;
    }
    if (first !== null) this.bytes = first.length;
    if (first === null || first.length < length) this.worker.clocks.rolling.start(this);
    const more = this.client.answer(head.lines, length < 0 ? CHUNKED : length, first);
    head.shrink();
    if (!more) this.#blockDyno();
  }

  dynoBody(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.worker.clocks.rolling.start(this);
    if (!this.client.write(chunk)) this.#blockDyno();
  }

  #blockDyno(): void {
    this.#clientBlocked = true;
    this.connection?.socket.pause();
  }

  clientWritable(): void {
    if (this.#tunnel !== null || this.ended) return;
    this.#clientBlocked = false;
    if (this.#dynoDone) {
      this.#complete();
      return;
    }
    this.worker.clocks.rolling.start(this);
    this.connection?.socket.resume();
  }

  dynoEnd(): void {
    const connection = this.connection!;
    const upload = this.#upload;
    const whole = (upload === null || (upload.taken && !upload.blocked)) && this.app!.route.keepAlive;
    this.connection = null;
    if (this.#clientBlocked) connection.socket.resume();
    connection.release(whole, this.worker.clocks.idle);
    this.dyno!.leave();
    this.#dynoDone = true;
    if (!this.#clientBlocked) this.#complete();
  }

  /** The client has everything but the end. */
  #complete(): void {
    this.client.end();
    this.#finish(null);
  }

  dynoBroken(problem: ErrorCode | null): void {
    this.#dropConnection();
    this.fail(problem ?? H18);
  }

  dynoClosed(any: boolean): void {
    if (this.#tunnel !== null) {
      this.#tunnel.dynoClosed();
      return;
    }
    const connection = this.connection!;
    this.#dropConnection();
    if (any) {
      this.fail(H18);
      return;
    }
    const again =
      connection.reused && !this.#retried && !this.#upload?.begun && IDEMPOTENT.has(this.request.method);
    if (again) {
      // It was idle and closed under our hands: no byte of an answer, so a new connection is asked, once.
      this.#retried = true;
      this.#headSent = false;
      this.#stage = LOOK_UP;
      this.advance();
      return;
    }
    this.fail(this.#upload?.taken === false ? H18 : H13);
  }

  #dropConnection(): void {
    const connection = this.connection;
    if (connection === null) return;
    this.connection = null;
    connection.destroy();
    this.dyno!.leave();
  }

  // ---- WebSocket ----

  #upgrade(head: AnswerHead): void {
    if (this.request.upgrade === "") {
      this.dynoBroken(H17);
      return;
    }
    this.#answered = true;
    this.bytes = 0;
    head.append("\r\nVia: 1.1 heroku-router");
    const tunnel = new WebSocketTunnel(this, this.connection!.socket);
    this.#tunnel = tunnel;
    const from = 4; // Behind `101 `, whatever the dyno's reason was.
    const line = head.copy.indexOf("\r\n", from);
    const lines = head.copy.subarray(line, head.copied);
    const client = this.client.accept(lines, head.webSocketProtocol, tunnel);
    if (client === null) return;
    tunnel.open(client);
    this.touch();
  }

  dynoTunnel(bytes: Buffer): void {
    this.#tunnel?.fromDyno(bytes);
  }

  /** A byte went either way through the tunnel. */
  touch(): void {
    if (this.ended) return;
    readTime();
    this.worker.clocks.rolling.start(this);
  }

  /** The tunnel is closed on both sides. */
  tunnelEnded(code: ErrorCode | null): void {
    if (this.ended) return;
    this.connection?.closeSoon();
    this.connection = null;
    this.dyno!.leave();
    this.#finish(code);
  }

  // ---- Ends ----

  override expired(clock: Clock): void {
    const { clocks } = this.worker;
    if (clock === clocks.firstByte) {
      this.connection!.giveUp(clocks.late);
      this.connection = null;
      this.dyno!.leave();
      this.fail(H12);
      return;
    }
    if (clock === clocks.connect) {
      this.#connectExpired();
      return;
    }
    if (clock === clocks.rolling) {
      if (this.#tunnel !== null) {
        this.#tunnel.idle();
        return;
      }
      const clientOwes = this.#answered ? this.#clientBlocked : !this.#upload?.blocked;
      this.fail(clientOwes ? H28 : H15);
      return;
    }
    if (this.app!.waiting.has(this)) {
      this.fail(H20);
      return;
    }
    this.#stage = LOOK_UP;
    this.advance();
  }

  #connectExpired(): void {
    this.connection!.destroy();
    this.dynoUnreachable("ETIMEDOUT");
  }

  /** The client went away. */
  clientGone(): void {
    if (this.ended || this.#tunnel !== null) return;
    this.#dropConnection();
    if (!this.#answered) this.status = H27.status;
    this.#finish(H27);
  }

  /** Ends with one of Heroku's codes: its page when nothing has been answered, else the connection is cut. */
  fail(code: ErrorCode): void {
    if (this.ended) return;
    const reached = this.#headSent;
    this.#dropConnection();
    if (this.#answered) this.client.abort();
    else {
      const route = this.app?.route;
      const url = code === H80 ? route?.maintenancePage : route?.errorPage;
      const title = code === H80 ? "Offline for Maintenance" : "Application Error";
      const page = (url && framed(url, title)) || (code === H80 ? MAINTENANCE : APPLICATION_ERROR);
      const sent = this.#page(code.status, page);
      // Without a dyno the fields stay empty.
      if (reached) this.bytes = sent;
    }
    this.#finish(code);
  }

  refuse(refusal: Refusal): void {
    this.client.closing = true;
    this.#page(refusal.status, refused(refusal.status, refusal.reason, refusal.message), refusal.reason);
    this.#finish(null);
  }

  noSuchApp(): void {
    this.#leaveApp();
    this.app = null;
    this.#page(404, NO_SUCH_APP);
    this.#finish(null);
  }

  /** The worker stops and cannot wait any longer. */
  cut(): void {
    if (this.#tunnel !== null) {
      this.#tunnel.goAway();
      return;
    }
    if (this.#answered) {
      this.fail(H24);
      return;
    }
    this.#dropConnection();
    this.client.abort();
    this.#finish(H24);
  }

  /** Ends WebSockets when the worker stops: they would never end by themselves. */
  stopTunnel(): void {
    this.#tunnel?.goAway();
  }

  #page(status: number, html: string, reason = REASONS[status] ?? "Error"): number {
    this.status = status;
    const body = Buffer.from(html);
    const client = this.client;
    // What is left of a request's body must not be taken for the next request.
    if (this.#upload?.taken === false) client.closing = true;
    const head = `${status} ${reason}\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-cache, no-store\r\nServer: Heroku\r\nVia: 1.1 heroku-router`;
    client.cork(() => {
      if (this.bodiless)
        client.answer(Buffer.from(`${head}\r\nContent-Length: ${body.length}`), BODILESS, null);
      else client.answer(Buffer.from(head), body.length, body);
    });
    return this.bodiless ? 0 : body.length;
  }

  #finish(code: ErrorCode | null): void {
    this.ended = true;
    this.clock?.stop(this);
    if (this.#headSent) this.serviceMs = Math.round(time.now - this.#connectedAt);
    this.worker.log.write(this, code);
    this.#leaveApp();
    this.#upload?.drop();
    const { open } = this.worker;
    open.delete(this);
    if (open.size === 0) this.worker.onIdle();
  }
}

const REASONS: Record<number, string> = {
  404: "Not Found",
  499: "Client Closed Request",
  502: "Bad Gateway",
  503: "Service Unavailable",
};
