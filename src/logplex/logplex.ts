import { once } from "node:events";
import { chownSync, mkdirSync } from "node:fs";
import type net from "node:net";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../config/environment.ts";
import { type Layout, type Socket, socketPath } from "../config/layout.ts";
import type { Part } from "../config/part.ts";
import { canDropPrivilege, dropPrivilege, lookUpUser, type PartUser, type UserIds } from "../config/users.ts";
import { FeedReader } from "../wire/feed.ts";
import { listenUnix, ReconnectingLink } from "../wire/link.ts";
import type { LogSetting } from "../wire/log-settings.ts";
import { diagnostics } from "./diagnostics.ts";
import { Drains } from "./drains/drains.ts";
import { httpServer } from "./http-server.ts";
import type { OutsideCounts } from "./ingest/outside.ts";
import { type Role, SenderLink, Senders } from "./ingest/sender-link.ts";
import { syslogServer } from "./ingest/syslog-server.ts";
import { Journal } from "./journal.ts";
import { nextLife } from "./life.ts";
import { Sessions } from "./sessions.ts";
import { Streams } from "./streams.ts";
import { Tally } from "./tally.ts";

const SAVE_MS = 1000;
const SWEEP_MS = 60_000;
/** A sender that has been away this long does not come back: a restarted one has another id. */
const SENDER_KEPT_MS = 3600 * 1000;
/** Control tells of a new app within moments. */
const UNKNOWN_KEPT_MS = 10 * 60 * 1000;
/** How long a stop waits for drains that are taking what they are sent. */
const DRAIN_OUT_MS = 2000;

const SENDERS: [Socket, Role, PartUser][] = [
  ["logplex-edge", "edge", "sluice-edge"],
  ["logplex-host", "host", "root"],
  ["logplex-control", "control", "sluice"],
];

/** For tests; a running Sluice trusts the public certificates and gives up root. */
export interface LogplexOptions {
  ca?: string;
  keepUser?: boolean;
}

async function listen(server: net.Server, port: number, host: string): Promise<number> {
  server.listen(port, host);
  await once(server, "listening");
  return (server.address() as net.AddressInfo).port;
}

/** The user that may connect to a socket of ours; null without root, where all are one. */
const peer = (user: PartUser): UserIds | null => (canDropPrivilege() ? lookUpUser(user) : null);

/**
 * Starts the Logplex: lines in from edge, host and control and from outside log sources; rings, log sessions
 * and drains out. Binds its sockets and ports, then becomes the user sluice-logplex.
 * @throws Error when a port or socket cannot be bound.
 */
export async function startLogplex(
  config: Config,
  layout: Layout,
  options: LogplexOptions = {},
): Promise<Part> {
  const log = diagnostics(config.logLevel);
  const streams = new Streams(config.drainBuffer);
  const senders = new Senders();
  const counts: OutsideCounts = { taken: 0, malformed: 0, unknown: 0, onTaken: () => {} };
  mkdirSync(layout.sockets, { recursive: true, mode: 0o755 });

  // Bound first, while root: the folders of the rest belong to the part's own user. Who connects before the
  // rings are read back waits in the socket.
  let open: () => void = () => {};
  const ready = new Promise<void>((resolve) => {
    open = resolve;
  });
  const unixServers: net.Server[] = [];
  for (const [socket, role, user] of SENDERS) {
    const accept = (connection: net.Socket): void => {
      connection.on("error", () => connection.destroy());
      void ready.then(() => new SenderLink(connection, role, streams, senders));
    };
    unixServers.push(await listenUnix(socketPath(layout, socket), peer(user), accept));
  }
  const syslog = syslogServer(streams, counts, ready);
  const syslogPort = await listen(syslog, config.logplex.syslogPort, SYSLOG_HOST);
  let sessions: Sessions | null = null;
  const http = httpServer(streams, () => sessions!, counts);
  const httpPort = await listen(http, config.logplex.httpPort, config.logplex.host);
  mkdirSync(layout.logplex, { recursive: true, mode: 0o700 });
  if (!options.keepUser) {
    const own = peer("sluice-logplex");
    if (own) chownSync(layout.logplex, own.uid, own.gid);
    dropPrivilege("sluice-logplex");
  }

  const drains = new Drains({
    names: streams.names,
    buffer: config.drainBuffer,
    allowPrivate: config.drainAllowPrivate,
    ca: options.ca,
  });
  drains.onUnusable = (message) => log.warn(message);
  const journal = new Journal(path.join(layout.logplex, "streams"), streams, (stream) =>
    drains.places(stream),
  );
  journal.onTrouble = (error) => {
    if (error) log.error({ err: error }, "Log lines cannot be written to disk; they stay in memory.");
    else log.warn("Log lines are written to disk again.");
  };
  const settings = new FeedReader<LogSetting>(path.join(layout.logplex, "settings"));
  streams.apply(settings.table, [...settings.table.keys()], true);
  journal.load();
  const tally = new Tally(path.join(layout.logplex, "outside"), streams);
  counts.onTaken = (stream, lines) => tally.count(stream, lines);
  sessions = new Sessions(
    streams,
    path.join(layout.logplex, "sessions"),
    nextLife(path.join(layout.logplex, "life")),
  );
  for (const stream of streams) drains.configure(stream);
  streams.onConfigured = (stream) => drains.configure(stream);
  streams.onRemoved = (stream) => {
    drains.remove(stream);
    journal.remove(stream);
  };

  settings.onChange = (keys, all) => {
    streams.apply(settings.table, keys, all);
    if (all) journal.prune();
  };
  const control = new ReconnectingLink(socketPath(layout, "control-logplex"), {
    onOpen: (link) => settings.hello(link),
    onMessage: (kind, message) => {
      if (control.link) settings.take(control.link, kind, message);
    },
  });

  open();

  let saving: Promise<void> | null = null;
  const save = setInterval(() => {
    saving ??= journal.save().finally(() => {
      saving = null;
    });
  }, SAVE_MS);
  const sweep = setInterval(() => {
    senders.forget(Date.now() - SENDER_KEPT_MS, streams);
    streams.sweepUnknown(Date.now() - UNKNOWN_KEPT_MS);
    streams.sweepNames(senders.processes());
  }, SWEEP_MS);

  const stop = async (now: boolean): Promise<void> => {
    clearInterval(save);
    clearInterval(sweep);
    control.close();
    settings.save();
    for (const server of [...unixServers, syslog, http]) server.close();
    for (const link of senders.links) link.close();
    const deadline = Date.now() + (now ? 0 : DRAIN_OUT_MS);
    while (Date.now() < deadline && [...drains].some((drain) => drain.hopeful)) await delay(5);
    drains.stop();
    await saving;
    journal.saveNow();
    sessions?.close();
    drains.end();
    http.closeAllConnections();
    counts.onTaken = () => {};
    tally.close();
  };
  let stopping: Promise<void> | null = null;
  return {
    ports: { syslog: syslogPort, http: httpPort },
    notes: [],
    stop: (now = false) => {
      stopping ??= stop(now);
      return stopping;
    },
    abandon: () => {
      stopping ??= stop(true);
      return stopping;
    },
  };
}

/** Outside senders on this machine; design section 12. */
const SYSLOG_HOST = "127.0.0.1";
