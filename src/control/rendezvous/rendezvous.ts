import type net from "node:net";
import tls from "node:tls";
import { randomSecret } from "../../config/environment.ts";
import type { BoundPort } from "../listeners.ts";

/*
 * Where a client of an attached one-off dyno comes to (the `heroku run` of CLI 11):
 *
 *   client                                   rendezvous (TLS)
 *     | -- <secret> CR LF ----------------------> |
 *     | <---------------- "rendezvous" CR LF ---- |   a TLS record of its own: the CLI drops the whole of it
 *     | <================ raw bytes ============> |
 */

const BANNER = "rendezvous\r\n";
/** The secret's line is 45 bytes; more than this is no client of ours. */
const LINE_LIMIT = 256;
const LINE_MS = 10_000;
/** The CLI's own clock for a silent connection. */
export const IDLE_MS = 3_600_000;

export interface Rendezvous {
  readonly port: number;
  /**
   * Promises a client. `url` is `rendezvous://host:port/secret`, to be given to it; `client` rejects when
   * nobody has come within `ms`.
   */
  expect(ms: number): { url: string; client: Promise<net.Socket> };
  renew(pem: { key: string; cert: string }): void;
  close(): Promise<void>;
}

interface Awaited {
  resolve: (client: net.Socket) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** Serves the rendezvous on `bound`, with the certificate of the API's names; `host` is put into the URLs. */
export async function openRendezvous(
  bound: BoundPort,
  host: string,
  pem: { key: string; cert: string },
): Promise<Rendezvous> {
  const awaited = new Map<string, Awaited>();
  const clients = new Set<net.Socket>();
  const server = tls.createServer({ ...pem, minVersion: "TLSv1.2" }, (client) => {
    clients.add(client);
    client.on("close", () => clients.delete(client));
    client.on("error", () => client.destroy());
    client.setNoDelay(true);
    readSecretLine(client, (secret) => {
      const entry = awaited.get(secret);
      if (!entry) {
        client.destroy();
        return;
      }
      awaited.delete(secret);
      clearTimeout(entry.timer);
      client.write(BANNER, () => entry.resolve(client));
    });
  });
  server.on("tlsClientError", () => {});
  await bound.handTo(server);
  return {
    port: bound.port,
    expect(ms) {
      const secret = randomSecret();
      const client = new Promise<net.Socket>((resolve, reject) => {
        const timer = setTimeout(() => {
          awaited.delete(secret);
          reject(new Error("no client came"));
        }, ms);
        awaited.set(secret, { resolve, reject, timer });
      });
      client.catch(() => {});
      const name = host.includes(":") ? `[${host}]` : host;
      return { url: `rendezvous://${name}:${bound.port}/${secret}`, client };
    },
    renew: (next) => server.setSecureContext({ ...next, minVersion: "TLSv1.2" }),
    async close() {
      for (const { reject, timer } of awaited.values()) {
        clearTimeout(timer);
        reject(new Error("control is stopping"));
      }
      awaited.clear();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const client of clients) client.destroy();
      await closed;
    },
  };
}

/** Reads the first line of a client, bounded in bytes and time; what came behind it stays in the socket. */
function readSecretLine(client: net.Socket, take: (secret: string) => void): void {
  let head = Buffer.alloc(0);
  const timer = setTimeout(() => client.destroy(), LINE_MS);
  client.on("close", () => clearTimeout(timer));
  const onData = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\n");
    if (end < 0 && head.length <= LINE_LIMIT) return;
    clearTimeout(timer);
    client.off("data", onData);
    client.pause();
    if (end < 0 || end > LINE_LIMIT) {
      client.destroy();
      return;
    }
    if (head.length > end + 1) client.unshift(head.subarray(end + 1));
    // The path of the URL may carry a query.
    take(head.subarray(0, end).toString("latin1").trim().split("?")[0]!);
  };
  client.on("data", onData);
}
