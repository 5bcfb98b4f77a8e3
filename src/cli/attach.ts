import net from "node:net";
import tls from "node:tls";
import { ExitMarker } from "./exit-marker.ts";
import { Failure } from "./failure.ts";
import type { Output } from "./output.ts";

/** Ends the input of a dyno without a terminal, and is what a terminal itself sends for Ctrl-D. */
const END_OF_INPUT = "\u0004";

/** This many Ctrl-C within a second mean that the user wants away from a dyno that takes none. */
const CTRL_C_TO_LEAVE = 4;
const CTRL_C_WINDOW_MS = 1000;

/** The rendezvous answers at once: its dyno may still be starting. */
const CONNECT_MS = 15_000;

/** The rendezvous greets with one line before the dyno's bytes; a longer one is none. */
const MAX_GREETING = 256;

export interface Attachment {
  /** `rendezvous://host:port/secret` */
  url: string;
  /** PEM of the CA that signed the rendezvous' certificate, beside the public ones. */
  ca: string | null;
  terminal: boolean;
  output: Output;
  onResize(columns: number, lines: number): void;
}

/** TLS to the rendezvous, the secret sent and its greeting read; bytes after it are put back. */
async function meet(attachment: Attachment): Promise<tls.TLSSocket> {
  const url = new URL(attachment.url);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const socket = tls.connect({
    host,
    port: Number(url.port),
    ca: attachment.ca ? [...tls.rootCertificates, attachment.ca] : undefined,
    ...(net.isIP(host) ? {} : { servername: host }),
  });
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void =>
      reject(
        new Failure(
          /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/.test(error.code ?? "")
            ? `The certificate of the rendezvous ${url.host} is not trusted (${error.code}): name the CA's file ($SLUICE_HOME/ca.pem) by SLUICE_CA.`
            : `The rendezvous ${url.host} cannot be reached (${error.code ?? error.message}).`,
        ),
      );
    socket.once("error", fail);
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error("it does not answer")));
    let greeting = Buffer.alloc(0);
    const read = (chunk: Buffer): void => {
      greeting = Buffer.concat([greeting, chunk]);
      const end = greeting.indexOf("\n");
      if (end < 0 && greeting.length <= MAX_GREETING) return;
      socket.off("data", read);
      socket.off("end", early);
      socket.off("error", fail);
      socket.setTimeout(0);
      socket.pause();
      if (end < 0) reject(new Failure(`${url.host} does not answer like a rendezvous.`));
      if (end + 1 < greeting.length) socket.unshift(greeting.subarray(end + 1));
      resolve();
    };
    const early = (): void => reject(new Failure("The dyno was gone before its terminal was attached."));
    socket.on("data", read);
    socket.once("end", early);
    socket.once("secureConnect", () => socket.write(`${url.pathname.slice(1)}${url.search}\r\n`));
  });
  return socket;
}

/** Sends stdin to the dyno until it ends, byte for byte and no faster than the dyno takes it. */
function sendInput(socket: tls.TLSSocket, terminal: boolean): () => void {
  const input = process.stdin;
  const ctrlC: number[] = [];
  const onData = (chunk: Buffer): void => {
    if (terminal && chunk.length === 1 && chunk[0] === 3) {
      ctrlC.push(Date.now());
      if (ctrlC.length > CTRL_C_TO_LEAVE) ctrlC.shift();
      if (ctrlC.length === CTRL_C_TO_LEAVE && ctrlC.at(-1)! - ctrlC[0]! < CTRL_C_WINDOW_MS) socket.destroy();
    }
    if (!socket.write(chunk)) {
      input.pause();
      socket.once("drain", () => input.resume());
    }
  };
  const onEnd = (): void => void socket.write(END_OF_INPUT);
  if (terminal) input.setRawMode(true);
  input.on("data", onData);
  input.once("end", onEnd);
  return () => {
    if (terminal) input.setRawMode(false);
    input.off("data", onData);
    input.off("end", onEnd);
    input.pause();
    // A pipe that nobody closes would keep this process alive.
    (input as unknown as { unref?(): void }).unref?.();
  };
}

/**
 * Joins this process' input and output to an attached one-off dyno until it ends.
 * @returns the exit status of its command; 130 when the user left it; null when none was told.
 */
export async function attach(attachment: Attachment): Promise<number | null> {
  const socket = await meet(attachment);
  const marker = new ExitMarker();
  let left = false;
  const leave = (): void => {
    left = true;
    socket.destroy();
  };
  const resize = (): void => {
    const { columns, rows } = process.stdout;
    if (columns && rows) attachment.onResize(columns, rows);
  };
  process.on("SIGINT", leave);
  process.on("SIGTERM", leave);
  process.on("SIGHUP", leave);
  if (attachment.terminal) process.stdout.on("resize", resize);
  const stopInput = sendInput(socket, attachment.terminal);
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      await attachment.output.write(marker.push(chunk));
    }
    await attachment.output.write(marker.end());
  } catch (error) {
    // A connection that breaks after the status was told is just an end.
    if (!left && marker.status === null) {
      throw new Failure(
        `The connection to the dyno broke (${(error as NodeJS.ErrnoException).code ?? "?"}).`,
      );
    }
  } finally {
    stopInput();
    socket.destroy();
    process.off("SIGINT", leave);
    process.off("SIGTERM", leave);
    process.off("SIGHUP", leave);
    process.stdout.off("resize", resize);
  }
  if (marker.status !== null) return marker.status;
  return left ? 130 : null;
}
