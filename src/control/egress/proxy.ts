import { timingSafeEqual } from "node:crypto";
import http from "node:http";
import type net from "node:net";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";
import { randomSecret } from "../../config/environment.ts";
import { sha256 } from "../accounts.ts";
import { type Egress, EgressError } from "./egress.ts";

/** Hosts that fetching boxes may open at a time, over all. */
const CONNECTIONS = 64;
/** A tunnel without a byte for this long is closed. */
const IDLE_MS = 120_000;
/** Headers that belong to the hop to the proxy. */
const HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The HTTP proxy by which git in a fetching box reaches the world: CONNECT for https, absolute-form for http
 * (RFC 9112, 3.2). Every connection, redirected or not, passes the egress rule. It listens on loopback and
 * asks for a password that only fetch orders carry.
 */
export class EgressProxy {
  #egress: Egress;
  #server: http.Server;
  #password = randomSecret();
  #opening: Promise<string> | null = null;

  constructor(egress: Egress) {
    this.#egress = egress;
    this.#server = http.createServer((request, response) => void this.#forward(request, response));
    this.#server.on(
      "connect",
      (request, socket: net.Socket, head: Buffer) => void this.#tunnel(request, socket, head),
    );
    this.#server.maxConnections = CONNECTIONS;
    this.#server.requestTimeout = 0;
  }

  /** The proxy's URL with its password; it begins to listen at its first use. */
  url(): Promise<string> {
    this.#opening ??= new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", () => {
        this.#server.unref();
        resolve(`http://sluice:${this.#password}@127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
      });
    });
    return this.#opening;
  }

  #allowed(request: http.IncomingMessage): boolean {
    const given = String(request.headers["proxy-authorization"] ?? "").replace(/^basic /i, "");
    const wanted = Buffer.from(`sluice:${this.#password}`).toString("base64");
    return timingSafeEqual(sha256(given), sha256(wanted));
  }

  async #tunnel(request: http.IncomingMessage, socket: net.Socket, head: Buffer): Promise<void> {
    socket.on("error", () => socket.destroy());
    if (!this.#allowed(request)) {
      socket.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="sluice"\r\n\r\n',
      );
      return;
    }
    try {
      const { hostname, port } = new URL(`http://${request.url}`);
      const far = await this.#egress.connect(hostname, Number(port) || 443);
      for (const end of [far, socket]) end.setTimeout(IDLE_MS, () => end.destroy());
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      far.write(head);
      pipeline(far, socket, () => {});
      pipeline(socket, far, () => {});
    } catch (error) {
      socket.end(`HTTP/1.1 403 Forbidden\r\nX-Sluice-Reason: ${reasonOf(error)}\r\n\r\n`);
    }
  }

  async #forward(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const refuse = (status: number, reason: string): void => {
      response.writeHead(status, {
        "Content-Type": "text/plain",
        "Proxy-Authenticate": 'Basic realm="sluice"',
      });
      response.end(`${reason}\n`);
    };
    if (!this.#allowed(request)) return refuse(407, "This proxy is for Sluice's own fetches.");
    try {
      const url = this.#egress.parse(request.url ?? "", ["http:"]);
      const { address, family } = await this.#egress.resolve(url.hostname);
      const headers: Record<string, string | string[]> = {};
      for (const [name, value] of Object.entries(request.headers)) {
        if (!HOP.has(name) && value !== undefined) headers[name] = value;
      }
      const onward = http.request(url, {
        method: request.method,
        headers,
        agent: false,
        lookup: (_host, options, done) =>
          options.all ? done(null, [{ address, family }]) : done(null, address, family),
        timeout: IDLE_MS,
      });
      onward.on("timeout", () => onward.destroy());
      onward.on("error", () =>
        response.headersSent ? response.destroy() : refuse(502, "The host cannot be reached."),
      );
      onward.on("response", (answer) => {
        const back = Object.entries(answer.headers).filter(([name]) => !HOP.has(name));
        response.writeHead(answer.statusCode ?? 502, Object.fromEntries(back) as http.OutgoingHttpHeaders);
        pipeline(answer, response, () => {});
      });
      pipeline(request, onward, () => {});
    } catch (error) {
      refuse(403, reasonOf(error));
    }
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

const reasonOf = (error: unknown): string =>
  error instanceof EgressError ? error.message.replace(/[\r\n]/g, " ") : "The host cannot be reached.";
