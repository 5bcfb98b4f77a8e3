import type net from "node:net";
import { randomSecret } from "../config/environment.ts";
import { FEED_HELLO, type FeedPublisher } from "../wire/feed.ts";
import { Link } from "../wire/link.ts";
import type {
  AppForget,
  BuildCancel,
  BuildOrder,
  BuildResult,
  BuildSettle,
  DynoOrder,
  DynoReport,
  DynoRestart,
  DynoSignal,
  FetchOrder,
  FetchResult,
  HostInventory,
} from "../wire/orders.ts";
import {
  APP_FORGET,
  BUILD_CANCEL,
  BUILD_ORDER,
  BUILD_RESULT,
  BUILD_SETTLE,
  DYNO_REPORT,
  DYNO_RESTART,
  DYNO_SIGNAL,
  FETCH_ORDER,
  FETCH_RESULT,
  HOST_INVENTORY,
} from "../wire/orders.ts";
import { sortConnection } from "../wire/stream.ts";

/** Control's end of the links to the hosts: orders out, reports and streams in. */
export interface Hosts {
  /** Inventories of the hosts connected now. */
  readonly connected: HostInventory[];
  onReport: (report: DynoReport) => void;
  /** A host connected: what it runs. Orders follow by the feed. */
  onInventory: (inventory: HostInventory) => void;
  /** Runs a build on a host; rejects with HostGone when the host goes away before the result. */
  build(order: BuildOrder): Promise<BuildResult>;
  cancelBuild(build: string): void;
  settleBuild(build: string, sha256: string | null): void;
  /** Runs a fetch on a host; rejects with HostGone when the host goes away before the result. */
  fetch(order: FetchOrder): Promise<FetchResult>;
  restartDyno(dyno: string): void;
  signalDyno(dyno: string, signal: "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGKILL"): void;
  resizeDyno(dyno: string, columns: number, lines: number): void;
  forgetApp(app: string, uids: number[]): void;
  /**
   * Promises the stream that a host will open under a fresh secret id; give the id in an order. The socket
   * comes paused, with its first bytes still in it. `take` rejects when it is not opened within `ms`.
   */
  expectStream(ms: number): ExpectedStream;
  /** Serves streams whose id begins with `prefix` (slugs: `slug:<sha256>`). */
  serveStreams(prefix: string, serve: (rest: string, socket: net.Socket) => void): void;
}

export interface ExpectedStream {
  id: string;
  take: Promise<net.Socket>;
  cancel(): void;
}

/** Hosts as `links.ts` feeds it. */
export interface HostsEnd extends Hosts {
  /** Takes one connection of the host socket: a host's message link, or a stream. */
  accept(socket: net.Socket): void;
  close(): void;
}

/** The host that held a build or a fetch is no longer connected, or none was. */
export class HostGone extends Error {
  override name = "HostGone";
}

/** A stream that an order named was not opened in time, or is no longer wanted. */
export class StreamMissing extends Error {
  override name = "StreamMissing";
}

interface Peer {
  link: Link;
  inventory: HostInventory | null;
  /** Its FEED_HELLO, when that came before the inventory. */
  hello: unknown;
}

interface UnderWay<R> {
  peer: Peer;
  resolve: (result: R) => void;
  reject: (error: Error) => void;
}

interface Awaited {
  resolve: (socket: net.Socket) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** Makes control's end of the host links; `orders` is published to every host that says hello. */
export function createHosts(orders: FeedPublisher<DynoOrder>): HostsEnd {
  return new HostLinks(orders);
}

class HostLinks implements HostsEnd {
  #orders: FeedPublisher<DynoOrder>;
  #peers = new Set<Peer>();
  #builds = new Map<string, UnderWay<BuildResult>>();
  #fetches = new Map<string, UnderWay<FetchResult>>();
  #awaited = new Map<string, Awaited>();
  #served: { prefix: string; serve: (rest: string, socket: net.Socket) => void }[] = [];
  onReport: (report: DynoReport) => void = () => {};
  onInventory: (inventory: HostInventory) => void = () => {};

  constructor(orders: FeedPublisher<DynoOrder>) {
    this.#orders = orders;
  }

  get connected(): HostInventory[] {
    return [...this.#peers].flatMap((peer) => (peer.inventory ? [peer.inventory] : []));
  }

  accept(socket: net.Socket): void {
    sortConnection(
      socket,
      (id, stream) => this.#acceptStream(id, stream),
      (own) => this.#acceptLink(own),
    );
  }

  #acceptLink(socket: net.Socket): void {
    const peer: Peer = { link: new Link(socket), inventory: null, hello: null };
    this.#peers.add(peer);
    peer.link.onMessage = (kind, message) => this.#onMessage(peer, kind, message);
    peer.link.onClose = () => this.#onClose(peer);
    socket.resume();
  }

  #onMessage(peer: Peer, kind: number, message: unknown): void {
    if (kind === FEED_HELLO && !peer.inventory) {
      // What it runs comes first, so that a one-off that ended meanwhile is not ordered again.
      peer.hello = message;
      return;
    }
    if (this.#orders.take(peer.link, kind, message)) return;
    switch (kind) {
      case HOST_INVENTORY:
        peer.inventory = message as HostInventory;
        this.onInventory(peer.inventory);
        if (peer.hello) this.#orders.take(peer.link, FEED_HELLO, peer.hello);
        peer.hello = null;
        break;
      case DYNO_REPORT:
        this.onReport(message as DynoReport);
        break;
      case BUILD_RESULT: {
        const result = message as BuildResult;
        settle(this.#builds, result.build, result);
        break;
      }
      case FETCH_RESULT: {
        const result = message as FetchResult;
        settle(this.#fetches, result.fetch, result);
        break;
      }
      default:
        // The socket accepts its own kinds only: a peer that speaks another language is cut off.
        peer.link.socket.destroy();
    }
  }

  #onClose(peer: Peer): void {
    this.#peers.delete(peer);
    this.#orders.detach(peer.link);
    const machine = peer.inventory?.machine ?? "unknown";
    const gone = new HostGone(`The host on ${machine} went away before it was done.`);
    for (const underWay of [this.#builds, this.#fetches]) {
      for (const [id, entry] of underWay) {
        if (entry.peer !== peer) continue;
        underWay.delete(id);
        entry.reject(gone);
      }
    }
  }

  #acceptStream(id: string, socket: net.Socket): void {
    // A stream is held by whoever takes it; until then a broken one must not end the process.
    socket.on("error", () => socket.destroy());
    const awaited = this.#awaited.get(id);
    if (awaited) {
      this.#awaited.delete(id);
      clearTimeout(awaited.timer);
      awaited.resolve(socket);
      return;
    }
    const served = this.#served.find(({ prefix }) => id.startsWith(prefix));
    if (served) served.serve(id.slice(served.prefix.length), socket);
    else socket.destroy();
  }

  /** The host that builds: the first connected one that has told what it runs. */
  #anyPeer(): Peer {
    for (const peer of this.#peers) if (peer.inventory) return peer;
    throw new HostGone("No host is connected; start one with `sluice host`, or look at its log.");
  }

  #ask<R>(underWay: Map<string, UnderWay<R>>, kind: number, id: string, order: unknown): Promise<R> {
    return new Promise((resolve, reject) => {
      const peer = this.#anyPeer();
      underWay.set(id, { peer, resolve, reject });
      if (!peer.link.send(kind, order)) this.#onClose(peer);
    });
  }

  build(order: BuildOrder): Promise<BuildResult> {
    return this.#ask(this.#builds, BUILD_ORDER, order.build, order);
  }

  fetch(order: FetchOrder): Promise<FetchResult> {
    return this.#ask(this.#fetches, FETCH_ORDER, order.fetch, order);
  }

  /** Tells every host; those that do not have the dyno, build or app leave it be. */
  #tell(kind: number, message: unknown): void {
    for (const peer of this.#peers) peer.link.send(kind, message);
  }

  cancelBuild(build: string): void {
    this.#tell(BUILD_CANCEL, { build } satisfies BuildCancel);
  }

  settleBuild(build: string, sha256: string | null): void {
    this.#tell(BUILD_SETTLE, { build, sha256 } satisfies BuildSettle);
  }

  restartDyno(dyno: string): void {
    this.#tell(DYNO_RESTART, { dyno } satisfies DynoRestart);
  }

  signalDyno(dyno: string, signal: "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGKILL"): void {
    this.#tell(DYNO_SIGNAL, { dyno, signal } satisfies DynoSignal);
  }

  resizeDyno(dyno: string, columns: number, lines: number): void {
    this.#tell(DYNO_SIGNAL, { dyno, columns, lines } satisfies DynoSignal);
  }

  forgetApp(app: string, uids: number[]): void {
    this.#tell(APP_FORGET, { app, uids } satisfies AppForget);
  }

  expectStream(ms: number): ExpectedStream {
    const id = randomSecret();
    let cancel = (): void => {};
    const take = new Promise<net.Socket>((resolve, reject) => {
      const give = (reason: string): void => {
        const awaited = this.#awaited.get(id);
        if (!awaited) return;
        this.#awaited.delete(id);
        clearTimeout(awaited.timer);
        reject(new StreamMissing(reason));
      };
      const timer = setTimeout(() => give(`The host did not open a stream within ${ms} ms.`), ms);
      this.#awaited.set(id, { resolve, reject, timer });
      cancel = () => give("The stream is no longer wanted.");
    });
    // Whoever gave up on the order may never look at `take`.
    take.catch(() => {});
    return { id, take, cancel };
  }

  serveStreams(prefix: string, serve: (rest: string, socket: net.Socket) => void): void {
    this.#served.push({ prefix, serve });
  }

  close(): void {
    for (const peer of this.#peers) peer.link.socket.destroy();
    for (const { reject, timer } of this.#awaited.values()) {
      clearTimeout(timer);
      reject(new StreamMissing("Control is stopping."));
    }
    this.#awaited.clear();
  }
}

function settle<R>(underWay: Map<string, UnderWay<R>>, id: string, result: R): void {
  const entry = underWay.get(id);
  underWay.delete(id);
  entry?.resolve(result);
}
