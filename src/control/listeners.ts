import http from "node:http";
import https from "node:https";
import net from "node:net";

/** A client has this long for its headers; the body's time is not bounded, a git push may be long. */
const HEADERS_MS = 30_000;
const KEEP_ALIVE_MS = 65_000;
const HANDSHAKE_MS = 10_000;
/** Each costs some 50 KB; beyond, new ones are closed at once. */
const CONNECTIONS = 2048;
/** What is under way when the server closes gets this long to end. */
const CLOSE_MS = 1000;
/** Connections wait between binding and serving, at most this many. */
const EARLY_LIMIT = 1024;

/** A bound TCP port whose connections wait until a server takes it: ports are bound before root is given up. */
export interface BoundPort {
  readonly port: number;
  /** Gives the port, with the connections that wait, to `server` (of node:net, tls, http or https). */
  handTo(server: net.Server): Promise<void>;
  /** Frees a port that was never handed on. */
  close(): void;
}

/** Binds `host:port` (0: a free one). @throws Error with one sentence when it is taken or may not be bound. */
export async function bindPort(host: string, port: number): Promise<BoundPort> {
  const early: net.Socket[] = [];
  const holder = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    if (early.length < EARLY_LIMIT) early.push(socket);
    else socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    holder.once("error", (error: NodeJS.ErrnoException) => {
      const why =
        error.code === "EADDRINUSE"
          ? "another program has it; stop that or choose another port"
          : error.code === "EACCES"
            ? "this user may not bind it; choose one above 1023"
            : error.message;
      reject(new Error(`Port ${port} on ${host} cannot be used: ${why}.`));
    });
    holder.listen(port, host, resolve);
  });
  return {
    port: (holder.address() as net.AddressInfo).port,
    async handTo(server) {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        // A listening server is a handle to listen on, which it then no longer does itself.
        server.listen(holder, () => {
          server.off("error", reject);
          resolve();
        });
      });
      for (const socket of early.splice(0)) {
        if (socket.destroyed) continue;
        server.emit("connection", socket);
        socket.resume();
      }
    },
    close: () => void holder.close(),
  };
}

/** A running HTTP or HTTPS server. */
export interface Listener {
  /** New connections get this certificate. */
  renew(pem: { key: string; cert: string }): void;
  close(): Promise<void>;
}

/** Serves HTTP on `bound`, or HTTPS when `pem` gives key and certificate chain. */
export async function serveHttp(
  bound: BoundPort,
  handler: http.RequestListener,
  pem?: { key: string; cert: string },
): Promise<Listener> {
  const server = pem
    ? https.createServer({ ...pem, minVersion: "TLSv1.2", handshakeTimeout: HANDSHAKE_MS }, handler)
    : http.createServer(handler);
  server.maxConnections = CONNECTIONS;
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = 0;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  await bound.handTo(server);
  return {
    renew(next) {
      if (server instanceof https.Server) server.setSecureContext({ ...next, minVersion: "TLSv1.2" });
    },
    async close() {
      const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
      await new Promise<void>((resolve) => server.close(() => resolve()));
      clearTimeout(timer);
    },
  };
}
