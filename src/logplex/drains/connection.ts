import net from "node:net";
import tls from "node:tls";
import { PrivateAddressError, publicOnly } from "../../wire/public-address.ts";
import type { Destination } from "./destination.ts";
import type { TransportOptions } from "./transport.ts";

/** Time to connect, TLS included (contract, section 3). */
const CONNECT_MS = 3000;
/** A connection is closed after this age, plus up to FUZZ_MS. */
const LIFE_MS = 5 * 3600 * 1000;
const FUZZ_MS = 15_000;

/** OpenSSL's and Node's codes for a certificate that is not to be trusted. */
const isCertificateError = (code: string | undefined): boolean =>
  code !== undefined && /CERT|SELF_SIGNED|VERIFY_LEAF|ALTNAME|ISSUER/.test(code);

/** A drain's one connection, made when it is needed. */
export class Connection {
  #destination: Destination;
  #options: TransportOptions;
  #idleMs: number;
  #closeIdleAt = 0;
  #closeAt = 0;
  #closed = false;
  /** The open socket; null while there is none. */
  socket: net.Socket | null = null;
  /** When it was opened, in milliseconds since the epoch. */
  openedAt = 0;

  constructor(destination: Destination, options: TransportOptions, idleMs: number) {
    this.#destination = destination;
    this.#options = options;
    this.#idleMs = idleMs;
  }

  /** Opens the connection; null when that fails, after its trouble was told. */
  async open(): Promise<net.Socket | null> {
    const { host, port } = this.#destination;
    try {
      const guard = this.#options.allowPrivate ? {} : publicOnly(host);
      const socket = this.#destination.tls
        ? tls.connect({
            host,
            port,
            ...guard,
            ca: this.#options.ca,
            ...(net.isIP(host) ? {} : { servername: host }),
          })
        : net.connect({ host, port, noDelay: true, ...guard });
      await this.#opened(socket);
      if (this.#closed) {
        socket.destroy();
        return null;
      }
      this.#keep(socket);
      return socket;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (error instanceof PrivateAddressError) this.#options.onTrouble({ kind: "private", message });
      else if (this.#destination.tls && isCertificateError(code))
        this.#options.onTrouble({ kind: "certificate" });
      return null;
    }
  }

  #opened(socket: net.Socket): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => socket.destroy(new Error("The connection took too long.")), CONNECT_MS);
      socket.once("error", reject);
      socket.once("close", () => {
        clearTimeout(timer);
        reject(new Error("The connection was closed."));
      });
      socket.once(this.#destination.tls ? "secureConnect" : "connect", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #keep(socket: net.Socket): void {
    this.socket = socket;
    this.openedAt = Date.now();
    this.#closeAt = this.openedAt + LIFE_MS + Math.random() * FUZZ_MS;
    this.used();
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (this.socket === socket) this.socket = null;
    });
  }

  /** Notes that the connection was just used. */
  used(): void {
    this.#closeIdleAt = Date.now() + this.#idleMs + Math.random() * FUZZ_MS;
  }

  /** Closes the connection when it has been idle too long, or is too old. Not to be called while a frame is out. */
  tick(now: number): void {
    if (this.socket && (now > this.#closeIdleAt || now > this.#closeAt)) this.drop();
  }

  /** Closes the socket, if there is one; the next use opens another. */
  drop(): void {
    const { socket } = this;
    this.socket = null;
    if (!socket) return;
    socket.end();
    // A peer that does not close its side must not keep the descriptor.
    socket.destroySoon();
  }

  /** Closes it at once. */
  destroy(): void {
    this.socket?.destroy();
    this.socket = null;
  }

  close(): void {
    this.#closed = true;
    this.destroy();
  }
}
