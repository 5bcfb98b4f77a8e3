import { mkdirSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import hyperid from "hyperid";
import type { Config } from "../config/environment.ts";
import { type Layout, socketPath } from "../config/layout.ts";
import type { Part } from "../config/part.ts";
import { dropPrivilege } from "../config/users.ts";
import { FeedReader } from "../wire/feed.ts";
import { ReconnectingLink } from "../wire/link.ts";
import { createLogSender } from "../wire/log-sender.ts";
import {
  EDGE_DRAINED,
  EDGE_HELLO,
  EDGE_WAKE,
  type EdgeDrained,
  type EdgeHello,
  type EdgeWake,
  type Route,
} from "../wire/routes.ts";
import type { App } from "./app.ts";
import { Wheel } from "./clock.ts";
import { RequestExchange } from "./exchange.ts";
import type { Pipeline } from "./front.ts";
import { UwsFront } from "./fronts/uws.ts";
import { openAnchor } from "./fronts/uws-anchor.ts";
import { muteLibrary, uws } from "./fronts/uws-library.ts";
import { DURATIONS, type Durations } from "./limits.ts";
import { RequestLog } from "./request-log.ts";
import { RoutingTable } from "./table.ts";
import { TlsListener } from "./tls.ts";
import { clocksOf, OpenExchanges, type Worker } from "./worker.ts";

export interface EdgeOptions {
  /** Clocks other than the contract's, for tests. */
  durations?: Partial<Durations>;
  /** False leaves the process's user and output as they are, for tests that hold an edge in their own process. */
  ownProcess?: boolean;
}

/** Ports below this one need root to bind. */
const FIRST_FREE_PORT = 1024;
/** What the Logplex has to acknowledge the last lines at stop. */
const LAST_LINES_MS = 1000;

/** The edge's link to control: the routes come in, drained dynos and wake-ups go out. */
class ControlLink {
  #link: ReconnectingLink;
  #drained = new Set<string>();
  #table: RoutingTable;

  constructor(socket: string, worker: number, reader: FeedReader<Route>, table: RoutingTable) {
    this.#table = table;
    this.#link = new ReconnectingLink(socket, {
      onOpen: (link) => {
        reader.hello(link);
        const hello: EdgeHello = { worker };
        link.send(EDGE_HELLO, hello);
        this.#tellDrained();
        for (const app of table.apps.values()) {
          app.woken = false;
          if (app.state === "idle" && app.waiting.size > 0) this.wake(app);
        }
      },
      onMessage: (kind, message) => {
        if (this.#link.link) reader.take(this.#link.link, kind, message);
      },
    });
    table.onDrained = (dyno) => {
      this.#drained.add(dyno);
      this.#tellDrained();
    };
  }

  /** Tells of every dyno whose last request has ended; kept while control is away. */
  #tellDrained(): void {
    if (this.#drained.size === 0) return;
    const drained: EdgeDrained = { dynos: [...this.#drained] };
    if (this.#link.send(EDGE_DRAINED, drained)) this.#drained.clear();
  }

  wake(app: App): void {
    if (app.woken || !this.#table.apps.has(`app:${app.id}`)) return;
    const wake: EdgeWake = { app: app.id };
    app.woken = this.#link.send(EDGE_WAKE, wake);
  }

  close(): void {
    this.#link.close();
  }
}

/**
 * Starts edge worker number `worker`: it serves HTTP and HTTPS from its own copy of the routing table, which it
 * also keeps on disk (without certificates), so it serves while control, Logplex and store are away.
 * @throws Error when a port cannot be bound.
 */
export async function startEdge(
  config: Config,
  layout: Layout,
  worker: number,
  options: EdgeOptions = {},
): Promise<Part> {
  const durations: Durations = { ...DURATIONS, ...options.durations };
  const sender = createLogSender(socketPath(layout, "logplex-edge"));
  const table = new RoutingTable((app) => sender.app(app));
  const wheel = new Wheel();
  let control: ControlLink | null = null;
  const state: Worker = {
    table,
    log: new RequestLog(sender),
    wheel,
    clocks: clocksOf(wheel, durations),
    durations,
    requestId: hyperid(),
    wakeApp: (app) => control?.wake(app),
    stopping: false,
    open: new OpenExchanges(),
    onIdle: () => {},
  };
  const pipeline: Pipeline = {
    begin(request, client) {
      const exchange = new RequestExchange(state, request, client);
      exchange.advance();
      return exchange;
    },
  };

  const { host } = config.edge;
  const port = config.edge.port || (await freePort(host));
  const tlsPort = config.edge.tlsPort || (await freePort(host));
  const anchor = await openAnchor();
  const http = new UwsFront(pipeline, anchor, uws.App(), false);
  const https = new TlsListener(pipeline, anchor, host, tlsPort);
  const bind = (): void => {
    for (const [listener, wanted] of [
      [http.listen(host, port), port],
      [https.listen(), tlsPort],
    ] as const) {
      if (!listener) throw new Error(`The edge cannot listen on ${host}:${wanted}; is the port taken?`);
    }
  };
  // Sockets that share a port must be bound by one user: as the edge's own, a listener can be replaced later.
  const privileged = [port, tlsPort].some((wanted) => wanted < FIRST_FREE_PORT);
  if (privileged) bind();
  if (options.ownProcess ?? true) {
    muteLibrary();
    dropPrivilege("sluice-edge");
  }
  if (!privileged) bind();

  mkdirSync(layout.edge, { recursive: true, mode: 0o700 });
  const reader = new FeedReader<Route>(
    path.join(layout.edge, `routes.${worker}`),
    (route) => route.kind === "app",
  );
  table.onCertificates = () => https.update(table.certificates.values());
  table.apply(reader.table, reader.table.keys(), true);
  reader.onChange = (keys, all) => table.apply(reader.table, keys, all);
  control = new ControlLink(socketPath(layout, "control-edge"), worker, reader, table);

  return {
    ports: { http: http.port, https: https.port },
    notes: [],
    async stop(now = false) {
      if (!state.stopping) {
        state.stopping = true;
        http.closeListener();
        https.closeListener();
        for (const exchange of state.open.list()) exchange.stopTunnel();
        if (!now) await allEnded(state, durations.stop);
        for (const exchange of state.open.list()) exchange.cut();
        http.close();
        https.close();
        anchor.close();
        for (const app of table.apps.values()) for (const dyno of app.dynos) dyno.closeIdle();
        reader.save();
        control?.close();
        wheel.stop();
      }
      await sender.close(LAST_LINES_MS);
    },
  };
}

/** A port that is free now: the library shares a port among listeners only when it is named. */
function freePort(host: string): Promise<number> {
  const server = net.createServer();
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Resolves when no exchange is open, or after `ms`. */
function allEnded(worker: Worker, ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (worker.open.size === 0) return resolve();
    const timer = setTimeout(resolve, ms);
    worker.onIdle = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
