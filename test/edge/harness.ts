import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { unpack } from "msgpackr";
import { readConfig } from "../../src/config/environment.ts";
import { type Layout, layoutOf, socketPath } from "../../src/config/layout.ts";
import type { Part } from "../../src/config/part.ts";
import { startEdge } from "../../src/edge/edge.ts";
import type { Durations } from "../../src/edge/limits.ts";
import { FeedPublisher } from "../../src/wire/feed.ts";
import { encodeFrame, FrameReader, LOG_FRAME_LIMIT } from "../../src/wire/frame.ts";
import { Link, listenUnix } from "../../src/wire/link.ts";
import {
  BATCH_HEAD,
  LOG_ACK,
  LOG_BATCH,
  LOG_NAME,
  type LogName,
  RECORD_HEAD,
  RECORD_LENGTH,
} from "../../src/wire/log-batch.ts";
import type { AppRoute, CertificateRoute, Route, RouteDyno } from "../../src/wire/routes.ts";

/*
 * A test holds both ends as raw sockets; only the edge between them is real. Control and Logplex are this
 * file's: a publisher of routes on the real link, and a reader of real log batches.
 */

/** One connection that the edge made to a dyno. */
export class DynoSocket {
  readonly socket: net.Socket;
  received = Buffer.alloc(0);
  ended = false;
  #waiting: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#wake();
    });
    socket.on("error", () => this.#wake());
    socket.on("close", () => {
      this.ended = true;
      this.#wake();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#wake();
    });
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves when `test` holds of the bytes received so far; they are given as latin1. */
  async until(test: (text: string) => boolean): Promise<string> {
    for (;;) {
      const text = this.received.toString("latin1");
      if (test(text)) return text;
      if (this.ended) throw new Error(`The connection ended; it had brought: ${JSON.stringify(text)}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The next request's or answer's head, taken off the bytes received. */
  async head(): Promise<string> {
    const text = await this.until((t) => t.includes("\r\n\r\n"));
    const end = text.indexOf("\r\n\r\n") + 4;
    this.received = this.received.subarray(end);
    return text.slice(0, end);
  }

  /** Exactly `bytes` bytes, taken off. */
  async take(bytes: number): Promise<Buffer> {
    await this.until((t) => t.length >= bytes);
    const taken = this.received.subarray(0, bytes);
    this.received = this.received.subarray(bytes);
    return taken;
  }

  /** Resolves when the other side has closed. */
  async closed(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  write(data: string | Buffer): void {
    this.socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }
}

/** A dyno's listening socket; the test answers each connection by hand, or `onRequest` does. */
export class RawDyno {
  readonly server: net.Server;
  readonly sockets: DynoSocket[] = [];
  #arrived: ((socket: DynoSocket) => void)[] = [];
  #taken = 0;
  onConnection: (socket: DynoSocket) => void = () => {};

  constructor(server: net.Server) {
    this.server = server;
    server.on("connection", (raw) => {
      const socket = new DynoSocket(raw);
      this.sockets.push(socket);
      this.onConnection(socket);
      this.#arrived.shift()?.(socket);
    });
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  /** The next connection that has not been taken yet. */
  async next(): Promise<DynoSocket> {
    const index = this.#taken++;
    if (index < this.sockets.length) return this.sockets[index]!;
    return new Promise((resolve) => this.#arrived.push(resolve));
  }

  /** Answers every request without a body with `answer`, on keep-alive connections. */
  answerAll(answer: string | ((head: string) => string)): void {
    this.onConnection = async (socket) => {
      try {
        for (;;) {
          const head = await socket.head();
          socket.write(typeof answer === "string" ? answer : answer(head));
        }
      } catch {
        // The edge closed the connection.
      }
    };
  }

  close(): void {
    this.server.close();
    for (const { socket } of this.sockets) socket.destroy();
  }
}

export interface Line {
  app: string;
  process: string;
  text: string;
}

/** The whole scene: an edge, a control that publishes its routes, and a Logplex that keeps its lines. */
export class Scene {
  readonly layout: Layout;
  readonly lines: Line[] = [];
  readonly messages: { kind: number; message: unknown }[] = [];
  publisher: FeedPublisher<Route>;
  edge!: Part;
  #test: TestContext;
  #durations: Partial<Durations>;
  #control: net.Server | null = null;
  #links = new Set<Link>();
  #logplex: net.Server | null = null;
  #logSockets = new Set<net.Socket>();
  #waiting: (() => void)[] = [];

  constructor(test: TestContext, durations: Partial<Durations>) {
    this.#test = test;
    this.#durations = durations;
    const folder = mkdtempSync(path.join(os.tmpdir(), "sluice-test-"));
    this.layout = layoutOf(folder, { SLUICE_SOCKETS: folder });
    this.publisher = new FeedPublisher<Route>(1);
    test.after(async () => {
      await this.edge?.stop(true);
      this.stopControl();
      this.stopLogplex();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  get port(): number {
    return this.edge.ports.http!;
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves when `test` gives something. */
  async until<T>(test: () => T | undefined | null | false): Promise<T> {
    for (;;) {
      const found = test();
      if (found) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async startEdge(): Promise<void> {
    const config = readConfig({
      SLUICE_HOME: this.layout.home,
      SLUICE_EDGE_PORT: "0",
      SLUICE_EDGE_TLS_PORT: "0",
    });
    config.edge.port = 0;
    config.edge.tlsPort = 0;
    this.edge = await startEdge(config, this.layout, 1, {
      durations: this.#durations,
      ownProcess: false,
    });
  }

  async startControl(): Promise<void> {
    this.#control = await listenUnix(socketPath(this.layout, "control-edge"), null, (socket) => {
      const link = new Link(socket);
      this.#links.add(link);
      link.onMessage = (kind, message) => {
        if (!this.publisher.take(link, kind, message)) this.messages.push({ kind, message });
        this.#changed();
      };
      link.onClose = () => {
        this.#links.delete(link);
        this.publisher.detach(link);
      };
    });
    this.publisher.onAck = () => this.#changed();
  }

  stopControl(): void {
    this.#control?.close();
    this.#control = null;
    for (const link of this.#links) link.socket.destroy();
  }

  async startLogplex(): Promise<void> {
    this.#logplex = await listenUnix(socketPath(this.layout, "logplex-edge"), null, (socket) => {
      this.#logSockets.add(socket);
      socket.on("error", () => {});
      const apps = new Map<number, string>();
      const processes = new Map<number, string>();
      const reader = new FrameReader(LOG_FRAME_LIMIT, (kind, body) => {
        if (kind === LOG_NAME) {
          const name = unpack(body) as LogName;
          if (name.app !== null) apps.set(name.handle, name.app);
          if (name.process !== null) processes.set(name.handle, name.process);
        }
        if (kind !== LOG_BATCH) return;
        for (let at = BATCH_HEAD; at < body.length; ) {
          const length = body.readUInt32BE(at + RECORD_LENGTH);
          this.lines.push({
            app: apps.get(body.readUInt32BE(at)) ?? "?",
            process: processes.get(body.readUInt32BE(at + 4)) ?? "?",
            text: body.toString("utf8", at + RECORD_HEAD, at + RECORD_HEAD + length),
          });
          at += RECORD_HEAD + length;
        }
        socket.write(encodeFrame(LOG_ACK, body.subarray(0, BATCH_HEAD)));
        this.#changed();
      });
      socket.on("data", (chunk: Buffer) => reader.push(chunk));
    });
  }

  stopLogplex(): void {
    this.#logplex?.close();
    this.#logplex = null;
    for (const socket of this.#logSockets) socket.destroy();
  }

  /** Publishes and waits until the edge has applied it. */
  async publish(set: [string, Route][], remove: string[] = []): Promise<void> {
    const number = this.publisher.update(set, remove);
    await this.until(() => [...this.#links].some((link) => this.publisher.acknowledged(link) >= number));
  }

  /** Publishes the app `hello` at `hello.test`; `dynos` are names to ports. */
  async route(dynos: RouteDyno[], more: Partial<AppRoute> = {}): Promise<void> {
    await this.publish([["app:a1", appRoute(dynos, more)]]);
  }

  /** A listening dyno, and its entry in a route. */
  async dyno(name = "web.1"): Promise<RawDyno & { route: RouteDyno }> {
    const server = net.createServer({ noDelay: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const dyno = new RawDyno(server) as RawDyno & { route: RouteDyno };
    this.#test.after(() => dyno.close());
    dyno.route = { id: `id-${name}`, name, address: "127.0.0.1", port: dyno.port };
    return dyno;
  }

  /** A raw connection to the edge. */
  client(): DynoSocket {
    const socket = net.connect({ port: this.port, host: "127.0.0.1", noDelay: true });
    this.#test.after(() => socket.destroy());
    return new DynoSocket(socket);
  }

  /** Waits for the next router line that was not taken yet. */
  async line(): Promise<string> {
    const line = await this.until(() => this.lines.shift());
    return line.text;
  }
}

export function appRoute(dynos: RouteDyno[], more: Partial<AppRoute> = {}): AppRoute {
  return {
    kind: "app",
    app: "a1",
    name: "hello",
    hosts: ["hello.test"],
    state: dynos.length > 0 ? "up" : "none",
    dynos,
    quantity: dynos.length,
    bootSeconds: 75,
    errorPage: null,
    maintenancePage: null,
    affinity: false,
    keepAlive: true,
    ...more,
  };
}

export const certificateRoute = (
  id: string,
  hosts: string[],
  certificate: string,
  key: string,
  fallback = false,
): CertificateRoute => ({ kind: "certificate", id, hosts, certificate, key, fallback });

/** A scene with everything running. */
export async function stage(test: TestContext, durations: Partial<Durations> = {}): Promise<Scene> {
  const scene = new Scene(test, durations);
  await scene.startControl();
  await scene.startLogplex();
  await scene.startEdge();
  return scene;
}

/** Every front serves the same contract; a new one is added here. */
const FRONTS = ["uws"] as const;

/** A case of the contract that all fronts share, run once for each. */
export function contract(name: string, body: (scene: Scene, t: TestContext) => Promise<void>): void {
  for (const front of FRONTS) {
    test(`${front}: ${name}`, async (t) => body(await stage(t), t));
  }
}

/** A request's text: `GET path` at `hello.test`, with more header lines. */
export const get = (path = "/", ...headers: string[]): string =>
  `GET ${path} HTTP/1.1\r\nHost: hello.test\r\n${headers.map((header) => `${header}\r\n`).join("")}\r\n`;
