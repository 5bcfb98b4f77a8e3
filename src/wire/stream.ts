import net from "node:net";
import { pack, unpack } from "msgpackr";
import { encodeFrame } from "./frame.ts";

/*
 * A byte stream between host and control (a source archive, a build's output, a slug, a terminal) is a
 * connection of its own on control's host socket: one STREAM_OPEN frame that names it, then raw bytes both
 * ways, with the socket's own back-pressure. The socket may be handed to a box as its stdin or stdout.
 */

/** First frame of a connection that is a stream; every other first frame makes it the message link. */
export const STREAM_OPEN = 8;

export interface StreamOpen {
  /** Names the stream: 256 random bits, chosen by control and told in the order that needs it. */
  stream: string;
}

/** Opens the stream `id` on control's host socket; the socket is ready for raw bytes. */
export function openStream(path: string, id: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      const open: StreamOpen = { stream: id };
      socket.write(encodeFrame(STREAM_OPEN, pack(open)));
      resolve(socket);
    });
  });
}

/** A stream's first frame is small; more than this before it is complete closes the connection. */
const OPEN_LIMIT = 4096;

/**
 * Looks at the first frame of a connection: a stream's socket goes to `onStream` with its id, paused, its
 * first raw bytes put back; any other goes to `onLink`, paused as well, with nothing taken from it.
 */
export function sortConnection(
  socket: net.Socket,
  onStream: (id: string, socket: net.Socket) => void,
  onLink: (socket: net.Socket) => void,
): void {
  let head = Buffer.alloc(0);
  const onError = (): void => void socket.destroy();
  const done = (): void => {
    socket.off("data", onData);
    socket.off("error", onError);
    socket.pause();
  };
  const onData = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk]);
    if (head.length < 5) return;
    if (head[4] !== STREAM_OPEN) {
      done();
      socket.unshift(head);
      onLink(socket);
      return;
    }
    const end = 4 + head.readUInt32BE(0);
    if (end > OPEN_LIMIT) {
      socket.destroy();
      return;
    }
    if (head.length < end) return;
    done();
    let open: StreamOpen;
    try {
      open = unpack(head.subarray(5, end)) as StreamOpen;
    } catch {
      // No message: a broken peer costs its connection, not this process.
      socket.destroy();
      return;
    }
    if (head.length > end) socket.unshift(head.subarray(end));
    onStream(open.stream, socket);
  };
  socket.on("data", onData);
  socket.on("error", onError);
}
