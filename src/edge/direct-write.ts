import type net from "node:net";

/*
 * A request's head goes to a dyno in one call of the system. `socket.write` does that too, but through a stream's
 * queue, a callback and a next tick: a fifth of what Node itself spends on a request. So the head is given to the
 * handle below the stream, whenever the stream holds nothing that must go before it. Where a Node has not got
 * these parts (they are not in its documentation), `socket.write` serves.
 */

/** What Node keeps of a write that the kernel did not take at once. */
interface WriteRequest {
  oncomplete: (status: number) => void;
  /** Keeps the socket until then. */
  socket?: net.Socket;
}

/** The handle below a socket: writes at once what the kernel takes, and queues the rest under `request`. */
interface Handle {
  writeLatin1String(request: WriteRequest, text: string): number;
}

interface StreamParts {
  WriteWrap: new () => WriteRequest;
  /** What the last write was is found here, at `kLastWriteWasAsync`. */
  streamBaseState: Int32Array;
  kLastWriteWasAsync: number;
}

function streamParts(): StreamParts | null {
  try {
    const binding = (process as unknown as { binding(name: string): Partial<StreamParts> }).binding;
    const parts = binding("stream_wrap");
    const whole =
      typeof parts.WriteWrap === "function" &&
      parts.streamBaseState instanceof Int32Array &&
      typeof parts.kLastWriteWasAsync === "number";
    return whole ? (parts as StreamParts) : null;
  } catch {
    return null;
  }
}

const parts = streamParts();
/** Used again and again, as long as the kernel takes every head at once. */
let spare: WriteRequest | null = null;

function writeRequest({ WriteWrap }: StreamParts): WriteRequest {
  const request = new WriteWrap();
  request.oncomplete = function (this: WriteRequest, status) {
    if (status < 0) this.socket?.destroy(new Error("The dyno did not take the request."));
  };
  return request;
}

/** Writes `text`, of characters up to U+00FF, to a connected socket. Errors come as the socket's `error`. */
export function writeLatin1(socket: net.Socket, text: string): void {
  const handle = (socket as unknown as { _handle: Handle | null })._handle;
  if (parts === null || handle === null || socket.writableLength > 0 || socket.destroyed) {
    socket.write(text, "latin1");
    return;
  }
  spare ??= writeRequest(parts);
  const request = spare;
  const error = handle.writeLatin1String(request, text);
  if (error !== 0) {
    socket.destroy(new Error("The dyno did not take the request."));
    return;
  }
  if (parts.streamBaseState[parts.kLastWriteWasAsync] === 0) return;
  spare = null;
  request.socket = socket;
}
