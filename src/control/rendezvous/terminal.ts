import type net from "node:net";
import { IDLE_MS } from "./rendezvous.ts";

/** U+FFFF opens the line by which `heroku run -x` learns the exit status; the CLI looks for it in one chunk. */
const MARK = Buffer.from("\uFFFF heroku-command-exit-status: ");
const MARK_LEAD = MARK.subarray(0, 3);
/** The mark, the digits and a line end. */
const MARK_LINE = MARK.length + 16;
/** A TLS record holds at most this. */
const RECORD_BYTES = 16_384;
/** A client that left gets its processes hung up this often, this far apart (R16). */
const HANG_UPS = 3;
const HANG_UP_MS = 5000;
const CLIENT_CLOSED = "Client connection closed. Sending SIGHUP to all processes";
const DETACHED =
  "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.";

export interface Joined {
  /** The exit status, when the client wants to be told of it; else null. */
  status: Promise<number> | null;
  /** Resolves when the dyno has ended, whatever became of its client. */
  ended: Promise<unknown>;
  /** The client left: logs `line` and sends SIGHUP. */
  hangUp: (line: string) => void;
  /** The processes do not heed it. */
  unheeded: (line: string) => void;
}

/**
 * Joins a client with the stream of its dyno, raw bytes both ways, until the dyno's end; then ends the client's
 * connection. A client that leaves first, or is silent for an hour, has its dyno hung up.
 */
export async function joinTerminal(client: net.Socket, dyno: net.Socket, joined: Joined): Promise<void> {
  client.setTimeout(IDLE_MS, () => client.destroy());
  const left = new Promise<"left">((resolve) => {
    if (client.destroyed) resolve("left");
    else client.once("close", () => resolve("left"));
  });
  if (!client.destroyed) client.pipe(dyno, { end: false });
  const first = await Promise.race([copyOut(dyno, client), left]);
  if (first === "left" || client.destroyed) {
    await hangUp(joined);
    dyno.destroy();
    return;
  }
  client.unpipe(dyno);
  client.resume();
  if (joined.status !== null) client.write(`${MARK}${await joined.status}\n`);
  client.end();
  dyno.destroy();
}

async function hangUp({ ended, hangUp, unheeded }: Joined): Promise<void> {
  let over = false;
  const end = ended.then(() => {
    over = true;
  });
  for (let count = 0; count < HANG_UPS && !over; count++) {
    hangUp(CLIENT_CLOSED);
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      end,
      new Promise((resolve) => {
        timer = setTimeout(resolve, HANG_UP_MS);
      }),
    ]);
    clearTimeout(timer);
  }
  if (!over) unheeded(DETACHED);
}

/** Copies what the dyno prints, each piece a write of its own, so that no mark is cut by a record's end. */
async function copyOut(dyno: net.Socket, client: net.Socket): Promise<"ended"> {
  let kept: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  const write = (piece: Buffer): Promise<void> =>
    new Promise((resolve) => {
      client.write(piece, () => resolve());
    });
  try {
    for await (const chunk of dyno as AsyncIterable<Buffer>) {
      const { pieces, rest } = cutPieces(kept.length > 0 ? Buffer.concat([kept, chunk]) : chunk);
      kept = rest;
      for (const piece of pieces) await write(piece);
    }
  } catch {
    // The host is gone, and the dyno with it.
  }
  if (kept.length > 0 && !client.destroyed) await write(kept);
  return "ended";
}

/**
 * Cuts bytes into pieces of at most one TLS record, each mark at the beginning of one; a mark at the end that is
 * not whole yet is the rest, to be put before the next bytes.
 */
export function cutPieces(bytes: Buffer): { pieces: Buffer[]; rest: Buffer } {
  const pieces: Buffer[] = [];
  let from = 0;
  while (from < bytes.length) {
    const mark = bytes.indexOf(MARK_LEAD, from + 1);
    const end = Math.min(mark < 0 ? bytes.length : mark, from + RECORD_BYTES);
    if (end === bytes.length && isCutMark(bytes.subarray(from))) break;
    const tail = end === bytes.length ? cutLead(bytes.subarray(from)) : 0;
    if (end - tail > from) pieces.push(bytes.subarray(from, end - tail));
    from = end - tail;
    if (tail > 0) break;
  }
  return { pieces, rest: bytes.subarray(from) };
}

/** True when `piece` is the beginning of a mark's line without its end. */
function isCutMark(piece: Buffer): boolean {
  if (piece.length > MARK_LINE || piece.includes(10)) return false;
  return piece.subarray(0, MARK.length).equals(MARK.subarray(0, piece.length));
}

/** How many bytes at the end may be the beginning of a mark's first character. */
function cutLead(piece: Buffer): number {
  for (const length of [2, 1]) {
    if (piece.length > length && piece.subarray(-length).equals(MARK_LEAD.subarray(0, length))) return length;
  }
  return 0;
}
