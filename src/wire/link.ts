import { chmodSync, chownSync, rmSync } from "node:fs";
import net from "node:net";
import { pack, unpack } from "msgpackr";
import { CONTROL_FRAME_LIMIT, encodeFrame, FrameError, FrameReader } from "./frame.ts";

/** Bytes that may wait unsent on one link; a peer that lets more pile up is cut off and starts afresh. */
const SEND_LIMIT = 64 * 1024 * 1024;
const RECONNECT_FIRST_MS = 20;
const RECONNECT_MAX_MS = 1000;

/** @throws FrameError when the bytes are no msgpackr message: a broken peer costs its link, not this process. */
function readBody(body: Buffer): unknown {
  try {
    return unpack(body);
  } catch {
    throw new FrameError("A frame whose body is no message.");
  }
}

/** One open connection between two parts, carrying msgpackr messages, each with its kind. */
export class Link {
  readonly socket: net.Socket;
  onMessage: (kind: number, message: unknown) => void = () => {};
  onClose: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    const reader = new FrameReader(CONTROL_FRAME_LIMIT, (kind, body) => this.onMessage(kind, readBody(body)));
    socket.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        socket.destroy();
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.onClose());
  }

  /** Sends one message; false when the link is closed, so the message went nowhere. */
  send(kind: number, message: unknown): boolean {
    if (this.socket.destroyed || !this.socket.writable) return false;
    this.socket.write(encodeFrame(kind, pack(message)));
    if (this.socket.writableLength > SEND_LIMIT) {
      this.socket.destroy();
      return false;
    }
    return true;
  }

  close(): void {
    this.socket.end();
  }
}

/** A link that is made again whenever it breaks, until `close`. */
export class ReconnectingLink {
  #path: string;
  #delay = RECONNECT_FIRST_MS;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  /** The open link, or null while there is none. */
  link: Link | null = null;
  onOpen: (link: Link) => void;
  onMessage: (kind: number, message: unknown) => void;
  onClose: () => void = () => {};

  constructor(
    path: string,
    handlers: { onOpen: (link: Link) => void; onMessage: (kind: number, message: unknown) => void },
  ) {
    this.#path = path;
    this.onOpen = handlers.onOpen;
    this.onMessage = handlers.onMessage;
    this.#connect();
  }

  #connect(): void {
    const socket = net.connect({ path: this.#path });
    const link = new Link(socket);
    socket.on("connect", () => {
      this.link = link;
      this.#delay = RECONNECT_FIRST_MS;
      this.onOpen(link);
    });
    link.onMessage = (kind, message) => this.onMessage(kind, message);
    link.onClose = () => {
      const wasOpen = this.link === link;
      this.link = null;
      if (wasOpen) this.onClose();
      if (this.#closed) return;
      this.#timer = setTimeout(() => this.#connect(), this.#delay);
      this.#delay = Math.min(this.#delay * 2, RECONNECT_MAX_MS);
    };
  }

  /** Sends on the open link; false when there is none. */
  send(kind: number, message: unknown): boolean {
    return this.link?.send(kind, message) ?? false;
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.link?.socket.destroy();
  }
}

/**
 * Listens on a Unix socket that only `peer` (and root) can connect to: owned by it, mode 0600.
 * Call it before privilege is dropped: the folder is root's.
 * @throws Error when the socket cannot be bound.
 */
export async function listenUnix(
  path: string,
  peer: { uid: number; gid: number } | null,
  onConnection: (socket: net.Socket) => void,
): Promise<net.Server> {
  rmSync(path, { force: true });
  const server = net.createServer({ noDelay: true }, onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // The socket's file is made within the call, so nothing else in this process is made under the mask.
    const mask = process.umask(0o177);
    server.listen(path, resolve);
    process.umask(mask);
  });
  chmodSync(path, 0o600);
  if (peer && process.getuid?.() === 0) chownSync(path, peer.uid, peer.gid);
  return server;
}
