import type net from "node:net";
import { type Layout, socketPath } from "../config/layout.ts";
import { canDropPrivilege, lookUpUser, type PartUser } from "../config/users.ts";
import { FEED_HELLO, type FeedPosition, type FeedPublisher } from "../wire/feed.ts";
import { Link, listenUnix } from "../wire/link.ts";
import type { LogSetting } from "../wire/log-settings.ts";
import {
  EDGE_DRAINED,
  EDGE_HELLO,
  EDGE_WAKE,
  type EdgeDrained,
  type EdgeHello,
  type EdgeWake,
  type Route,
} from "../wire/routes.ts";
import type { HostsEnd } from "./hosts.ts";

/** What the links publish, and to whom a host's connections go. */
export interface Served {
  routes: FeedPublisher<Route>;
  logSettings: FeedPublisher<LogSetting>;
  hosts: HostsEnd;
}

/** One connected edge worker. */
export interface EdgePeer {
  readonly link: Link;
  /** Its number; null until it has said hello. */
  worker: number | null;
  /** True when it already served with a table of its own before this link opened, so it may owe `drained`. */
  seasoned: boolean;
}

/** Control's Unix sockets: who is connected, and what the edges say. */
export interface Links {
  /**
   * Begins to serve; what connected before waits until now. Call it once the formation has made its orders
   * and routes: a host stops what the snapshot does not name. Edges wait for `adopted` too (the first host has
   * said what runs), and keep serving from their last table meanwhile.
   */
  serve(served: Served, adopted?: Promise<void>): void;
  readonly edges: ReadonlySet<EdgePeer>;
  /** How many of each part are connected, for /health. */
  connected(): { edge: number; host: number; logplex: number };
  /** An edge worker said hello on the routes feed: it has, or is getting, the current table. */
  onEdge: (edge: EdgePeer) => void;
  /** A worker's last request to these removed dynos has ended. */
  onDrained: (edge: EdgePeer, dynos: string[]) => void;
  /** A worker applied the routes up to `number`. */
  onApplied: (edge: EdgePeer, number: number) => void;
  onEdgeGone: (edge: EdgePeer) => void;
  /** A request waits for this idle app. */
  onWake: (app: string) => void;
  close(): Promise<void>;
}

/**
 * Listens on control's three sockets, each of which only its peer's user can open. Call it as root, before
 * privilege is dropped; connections are held until `serve`, because the feeds need the store's epoch first.
 * @throws Error when a socket cannot be bound.
 */
export async function openLinks(layout: Layout): Promise<Links> {
  const links = new ControlLinks();
  await links.listen(layout);
  return links;
}

class ControlLinks implements Links {
  #servers: net.Server[] = [];
  /** Connections that came before `serve`. */
  #early: (() => void)[] = [];
  #served: Served | null = null;
  #adopted: Promise<void> = Promise.resolve();
  #sockets = new Set<net.Socket>();
  #logplexes = new Set<Link>();
  readonly edges = new Set<EdgePeer>();
  onEdge: (edge: EdgePeer) => void = () => {};
  onDrained: (edge: EdgePeer, dynos: string[]) => void = () => {};
  onApplied: (edge: EdgePeer, number: number) => void = () => {};
  onEdgeGone: (edge: EdgePeer) => void = () => {};
  onWake: (app: string) => void = () => {};

  async listen(layout: Layout): Promise<void> {
    const open = async (
      socket: "control-edge" | "control-host" | "control-logplex",
      peer: PartUser,
      accept: (socket: net.Socket, served: Served) => void,
    ): Promise<void> => {
      const ids = canDropPrivilege() ? lookUpUser(peer) : null;
      const server = await listenUnix(socketPath(layout, socket), ids, (connection) => {
        this.#sockets.add(connection);
        connection.on("close", () => this.#sockets.delete(connection));
        if (this.#served) accept(connection, this.#served);
        else this.#early.push(() => this.#served && accept(connection, this.#served));
      });
      this.#servers.push(server);
    };
    try {
      await open("control-edge", "sluice-edge", (socket, served) => {
        void this.#adopted.then(() => this.#acceptEdge(socket, served));
      });
      await open("control-host", "root", (socket, served) => served.hosts.accept(socket));
      await open("control-logplex", "sluice-logplex", (socket, served) =>
        this.#acceptLogplex(socket, served),
      );
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  serve(served: Served, adopted: Promise<void> = Promise.resolve()): void {
    this.#served = served;
    this.#adopted = adopted;
    served.routes.onAck = (link, number) => {
      for (const edge of this.edges) if (edge.link === link) this.onApplied(edge, number);
    };
    for (const accept of this.#early.splice(0)) accept();
  }

  connected(): { edge: number; host: number; logplex: number } {
    return {
      edge: this.edges.size,
      host: this.#served?.hosts.connected.length ?? 0,
      logplex: this.#logplexes.size,
    };
  }

  #acceptEdge(socket: net.Socket, { routes }: Served): void {
    const edge: EdgePeer = { link: new Link(socket), worker: null, seasoned: false };
    edge.link.onMessage = (kind, message) => {
      // The edge is the least trusted part: what is no record at all ends its link.
      if (typeof message !== "object" || message === null) {
        socket.destroy();
        return;
      }
      if (kind === FEED_HELLO && !this.edges.has(edge)) {
        // Number 0: a fresh process, if with a table from disk; it has no request open anywhere.
        edge.seasoned = (message as FeedPosition).number > 0;
        this.edges.add(edge);
        routes.take(edge.link, kind, message);
        this.onEdge(edge);
        return;
      }
      if (routes.take(edge.link, kind, message)) return;
      if (kind === EDGE_HELLO) edge.worker = (message as EdgeHello).worker;
      else if (kind === EDGE_DRAINED) this.onDrained(edge, asTexts((message as EdgeDrained).dynos));
      else if (kind === EDGE_WAKE) this.onWake(String((message as EdgeWake).app));
      else socket.destroy();
    };
    edge.link.onClose = () => {
      routes.detach(edge.link);
      if (this.edges.delete(edge)) this.onEdgeGone(edge);
    };
  }

  #acceptLogplex(socket: net.Socket, { logSettings }: Served): void {
    const link = new Link(socket);
    link.onMessage = (kind, message) => {
      if (!logSettings.take(link, kind, message)) socket.destroy();
      else this.#logplexes.add(link);
    };
    link.onClose = () => {
      logSettings.detach(link);
      this.#logplexes.delete(link);
    };
  }

  async close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((done) => server.close(() => done())));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }
}

const asTexts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
