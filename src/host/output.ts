import { closeSync } from "node:fs";
import net from "node:net";
import type { LogSender } from "../wire/log-sender.ts";
import { LINE_LIMIT, Source } from "../wire/source.ts";
import { Box } from "./box/box.ts";

/** Bytes of one read; a line that is longer than what is read is carried over, up to LINE_LIMIT. */
const CHUNK_BYTES = 16 * 1024;
/** Bytes that one stream of a dyno may give in one turn of the event loop, so that no dyno makes another wait. */
const TURN_BYTES = 64 * 1024;
const NEWLINE = 10;

/** Microseconds since the epoch. */
export const nowMicros = (): number => Math.floor((performance.timeOrigin + performance.now()) * 1000);

/** Cuts bytes into lines and writes them to the log; no byte is kept but those of a line that is not ended. */
export class Lines {
  #log: LogSender;
  #app: number;
  #process: number;
  #carry: Buffer | null = null;
  #carried = 0;

  constructor(log: LogSender, app: number, process: number) {
    this.#log = log;
    this.#app = app;
    this.#process = process;
  }

  #emit(bytes: Buffer, start: number, end: number, micros: number): void {
    const log = this.#log;
    const at = log.begin(this.#app, this.#process, Source.Dyno, micros, end - start);
    bytes.copy(log.buffer, at, start, end);
    log.commit(at + end - start);
  }

  /** Takes `chunk`, all of whose lines get the time `micros`; it may be written over afterwards. */
  push(chunk: Buffer, micros: number): void {
    let start = 0;
    while (start < chunk.length) {
      let newline = chunk.indexOf(NEWLINE, start);
      if (newline < 0) newline = chunk.length;
      const ended = newline < chunk.length;
      while (start < newline) {
        const room = LINE_LIMIT - this.#carried;
        const end = Math.min(newline, start + room);
        if (!this.#carried && (ended || end - start === LINE_LIMIT)) this.#emit(chunk, start, end, micros);
        else {
          this.#carry ??= Buffer.allocUnsafeSlow(LINE_LIMIT);
          chunk.copy(this.#carry, this.#carried, start, end);
          this.#carried += end - start;
          if (this.#carried === LINE_LIMIT) this.flush(micros);
        }
        start = end;
      }
      if (ended) {
        this.flush(micros);
        start = newline + 1;
      }
    }
  }

  /** Ends the line that is carried, as if a newline had come. */
  flush(micros: number): void {
    if (this.#carry && this.#carried) this.#emit(this.#carry, 0, this.#carried, micros);
    this.#carried = 0;
  }
}

let flushing = false;
/** Sends what this turn has read at its end: what lies in the kernel's socket outlives a killed host. */
function flushSoon(log: LogSender): void {
  if (flushing) return;
  flushing = true;
  setImmediate(() => {
    flushing = false;
    log.flush();
  });
}

/** Reads the two output FIFOs of a box into the log until `finish`. */
export class Output {
  #box: Box;
  #streams: { socket: net.Socket; lines: Lines }[];

  constructor(box: Box, log: LogSender, app: number, process: number) {
    this.#box = box;
    this.#streams = box.outputs().map((fd) => {
      const lines = new Lines(log, app, process);
      let spent = 0;
      const socket: net.Socket = new net.Socket({
        fd,
        readable: true,
        writable: false,
        onread: {
          buffer: Buffer.allocUnsafeSlow(CHUNK_BYTES),
          callback: (count: number, buffer: Uint8Array): boolean => {
            lines.push((buffer as Buffer).subarray(0, count), nowMicros());
            flushSoon(log);
            spent += count;
            if (spent < TURN_BYTES) return true;
            setImmediate(() => {
              spent = 0;
              if (!socket.destroyed) socket.resume();
            });
            return false;
          },
        },
      } as net.SocketConstructorOpts);
      socket.on("error", () => socket.destroy());
      socket.resume();
      return { socket, lines };
    });
  }

  /** After the command's end: reads what the FIFOs still hold, and closes them. */
  finish(): void {
    // Opened before the sockets are closed: a FIFO that nobody holds forgets its bytes.
    const fds = this.#box.outputs();
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    this.#streams.forEach(({ socket, lines }, index) => {
      socket.destroy();
      const fd = fds[index] as number;
      for (let rest = Box.rest(fd, buffer); rest; rest = Box.rest(fd, buffer)) lines.push(rest, nowMicros());
      lines.flush(nowMicros());
      closeSync(fd);
    });
  }

  /** Stops reading and leaves the bytes to the next host. */
  leave(): void {
    for (const { socket } of this.#streams) socket.destroy();
  }
}
