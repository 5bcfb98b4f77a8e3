import type net from "node:net";
import type { Limits } from "../../wire/orders.ts";
import type { Slot } from "./network.ts";

/** A folder or file of the machine that a box sees. */
export interface BoxMount {
  /** Absolute, on the machine. */
  source: string;
  /** Absolute, in the box; made where it is not there. */
  target: string;
  writable: boolean;
}

/**
 * Where a standard stream of a box goes: /dev/null; a descriptor of ours, or a socket, whose bytes then never
 * pass through Node (nobody else may read or write it: the box makes it blocking); or a pipe to this process,
 * found in `Box.pipes`.
 */
export type BoxStream = "null" | "pipe" | number | net.Socket;

/** A terminal that the box sits on; bytes both ways through `Box.terminal`. */
export interface TerminalSize {
  columns: number;
  lines: number;
}

/**
 * How a box's stdin, stdout and stderr are laid: three streams; `fifo`, where stdin is /dev/null and the other
 * two are FIFOs that outlive the host (`Box.outputs`); or a terminal.
 */
export type BoxStdio = [BoxStream, BoxStream, BoxStream] | "fifo" | TerminalSize;

export interface BoxSpec {
  /** Unique on this machine among the boxes of this Sluice: letters, digits, `.`, `_`, `-`; at most 64. */
  id: string;
  uid: number;
  gid: number;
  /** Folder that holds `app/`: the read-only lower layer of /app, shared by boxes; null: /app is empty. Writes go to a layer of the box's own, gone with it. */
  lower: string | null;
  mounts: BoxMount[];
  /** The whole environment of the command. */
  env: Record<string, string>;
  cwd: string;
  argv: string[];
  stdio: BoxStdio;
  limits: Limits | null;
  /** `own`: a namespace out of the pool (or that of a slot taken before); `machine`: shared with the machine; `none`: loopback alone. */
  network: "own" | "machine" | "none" | Slot;
  hostname: string;
}

/** How a box ended. */
export interface BoxEnd {
  /** Exit status of the command; 128 + signal; 125 when the box could not be set up. */
  status: number;
  /** Why it could not be set up, in the words of the tool that failed; null when it ran. */
  fault: string | null;
  /** It was ended from outside (kill, out of memory of its first process), so the status is not the command's. */
  killed: boolean;
}

/** A box that cannot be started: the message says why. */
export class BoxError extends Error {
  override name = "BoxError";
}
