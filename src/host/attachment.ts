import type net from "node:net";
import type { Readable } from "node:stream";
import type { Box } from "./box/box.ts";

/** Ends the input of an attached dyno without a terminal (Heroku's rendezvous). */
const END_OF_INPUT = 0x04;

/** The two sides of an attached one-off dyno: its box and the stream to its client. */
export interface Joined {
  /** When something last went either way; milliseconds since the epoch. */
  readonly active: number;
  /** Resolves when all output has been given to the stream, which is then ended; call it after the command's end. */
  finish(): Promise<void>;
}

/** Joins a box to its stream: a terminal's bytes both ways, or pipes in which byte 0x04 ends the input. */
export function join(box: Box, stream: net.Socket): Joined {
  return box.terminal ? joinTerminal(box, stream) : joinPipes(box, stream);
}

function joinTerminal(box: Box, stream: net.Socket): Joined {
  const terminal = box.terminal as NonNullable<Box["terminal"]>;
  const joined = { active: Date.now(), finish: () => ended };
  stream.on("error", () => stream.destroy());
  // node-pty gives bytes when its encoding is null, whatever its types say.
  terminal.onData((data: string | Buffer) => {
    joined.active = Date.now();
    if (!stream.writable || stream.write(data)) return;
    // A client that does not read makes the command wait, and no memory grows.
    terminal.pause();
    whenWritable(stream, () => terminal.resume());
  });
  stream.on("data", (chunk: Buffer) => {
    joined.active = Date.now();
    // It takes bytes as they are; its types know strings only.
    terminal.write(chunk as unknown as string);
  });
  const ended = new Promise<void>((resolve) => {
    terminal.onExit(() => {
      stream.end(() => resolve());
      if (stream.destroyed) resolve();
      stream.once("close", () => resolve());
    });
  });
  return joined;
}

function joinPipes(box: Box, stream: net.Socket): Joined {
  const joined = { active: Date.now(), finish: async (): Promise<void> => {} };
  const { stdin, stdout, stderr } = box.pipes;
  stream.on("error", () => stream.destroy());
  stream.on("data", (chunk: Buffer) => {
    joined.active = Date.now();
    const end = chunk.indexOf(END_OF_INPUT);
    const bytes = end < 0 ? chunk : chunk.subarray(0, end);
    if (bytes.length && stdin?.writable && !stdin.write(bytes)) {
      stream.pause();
      stdin.once("drain", () => stream.resume());
      stdin.once("close", () => stream.resume());
    }
    if (end >= 0) stdin?.end();
  });
  stream.on("end", () => stdin?.end());
  const copied = [stdout, stderr].map((output) => copy(output as Readable, stream, joined));
  joined.finish = async () => {
    await Promise.all(copied);
    await new Promise<void>((resolve) => {
      stream.once("close", () => resolve());
      stream.end(() => resolve());
    });
  };
  return joined;
}

/** Calls back once when the stream takes bytes again, or is gone. */
function whenWritable(stream: net.Socket, callback: () => void): void {
  const once = (): void => {
    stream.off("drain", once).off("close", once);
    callback();
  };
  stream.on("drain", once).on("close", once);
}

function copy(output: Readable, stream: net.Socket, joined: { active: number }): Promise<void> {
  return new Promise((resolve) => {
    output.on("data", (chunk: Buffer) => {
      joined.active = Date.now();
      if (stream.writable && !stream.write(chunk)) {
        output.pause();
        whenWritable(stream, () => output.resume());
      }
    });
    output.on("error", () => resolve());
    output.on("close", () => resolve());
  });
}
