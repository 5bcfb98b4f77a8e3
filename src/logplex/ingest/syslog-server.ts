import net from "node:net";
import type { Streams } from "../streams.ts";
import { type OutsideCounts, OutsideStream } from "./outside.ts";

/** Outside senders at a time. */
const CONNECTIONS_LIMIT = 1000;
/** A sender that says nothing for this long is closed. */
const IDLE_MS = 10 * 60 * 1000;

/**
 * Syslog over TCP for outside log sources; the token is the app-name field of each message. Not yet listening.
 * @param ready nothing is read before it is fulfilled
 */
export function syslogServer(streams: Streams, counts: OutsideCounts, ready: Promise<void>): net.Server {
  const server = net.createServer((socket) => {
    const input = new OutsideStream(streams, counts, null);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    void ready.then(() =>
      socket.on("data", (chunk: Buffer) => {
        if (!input.push(chunk)) socket.destroy();
      }),
    );
    socket.on("end", () => {
      if (input.cut) input.broken();
    });
    socket.on("error", () => socket.destroy());
  });
  server.maxConnections = CONNECTIONS_LIMIT;
  return server;
}
