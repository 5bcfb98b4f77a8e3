import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import net from "node:net";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import type { IPty } from "@lydell/node-pty";
import type { Cgroups, MemoryUse } from "./cgroups.ts";
import { children, descendants, isAlive, send } from "./processes.ts";
import type { BoxEnd } from "./spec.ts";

/** Rounds of listing and signalling: a process that forks meanwhile is met in the next. */
const SIGNAL_ROUNDS = 5;
const KILL_POLL_MS = 5;
/** Words of a launcher that failed, as shown; the rest is noise. */
const FAULT_LIMIT = 500;

const readText = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};

/** One running box, started in this life of the host or adopted from an earlier one. */
export class Box {
  readonly id: string;
  /** Its folder on the machine. */
  readonly folder: string;
  /** Address by which the machine reaches it; null when it shares the machine's network or has none. */
  readonly address: string | null;
  /** Resolves when the command has ended and everything it left is gone; call `free` afterwards. */
  readonly exited: Promise<BoxEnd>;
  /** The box's terminal, where its stdio is one. */
  terminal: IPty | null = null;
  /** Our ends of the streams that are pipes. */
  pipes: { stdin: Writable | null; stdout: Readable | null; stderr: Readable | null } = {
    stdin: null,
    stdout: null,
    stderr: null,
  };
  #cgroups: Cgroups;
  #life: net.Socket;
  #hold: number | null;
  #launcher = 0;
  #killed = false;
  #settle: (end: BoxEnd) => void = () => {};
  #gone: Promise<void>;
  #started: Promise<void>;
  #onStarted: () => void = () => {};
  #onGone: () => void = () => {};
  #free: (box: Box) => Promise<void>;

  /** @param free frees what the box had; made by Boxes, which alone makes boxes. */
  constructor(
    id: string,
    folder: string,
    address: string | null,
    cgroups: Cgroups,
    free: (box: Box) => Promise<void>,
  ) {
    this.id = id;
    this.folder = folder;
    this.address = address;
    this.#cgroups = cgroups;
    this.#free = free;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#gone = new Promise((resolve) => {
      this.#onGone = resolve;
    });
    this.#started = new Promise((resolve) => {
      this.#onStarted = resolve;
    });
    const file = path.join(folder, "life");
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    // Held until the launcher has opened it too: a FIFO without a writer reads as ended.
    this.#hold = openSync(file, constants.O_WRONLY | constants.O_NONBLOCK);
    this.#life = new net.Socket({ fd, readable: true, writable: false });
    let text = "";
    this.#life.on("data", (chunk: Buffer) => {
      this.letGo();
      text += chunk.toString("latin1");
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const [word, number] = line.split(" ");
        if (word === "pid") {
          this.#launcher = Number(number);
          this.#onStarted();
        } else if (word === "end") this.#end(Number(number), null);
      }
    });
    this.#life.on("error", () => this.#life.destroy());
    this.#life.on("close", () => {
      const status = readText(path.join(folder, "status")).trim();
      const fault = readText(path.join(folder, "fault")).trim().slice(0, FAULT_LIMIT);
      if (status) this.#end(Number(status), null);
      else if (this.#killed || !fault) this.#end(137, null);
      else this.#end(125, fault);
      this.#onStarted();
      this.#onGone();
    });
  }

  /**
   * True while the launcher of the box in `folder` lives: it alone holds `life` open for reading too.
   * Only for boxes of an earlier life of the host.
   */
  static lives(folder: string): boolean {
    try {
      closeSync(openSync(path.join(folder, "life"), constants.O_WRONLY | constants.O_NONBLOCK));
      return true;
    } catch {
      return false;
    }
  }

  /** Takes up a box of an earlier life of the host, which may have read what its launcher told of its end. */
  adopt(): void {
    this.letGo();
    this.#onStarted();
    const status = readText(path.join(this.folder, "status")).trim();
    if (status) this.#end(Number(status), null);
  }

  #end(status: number, fault: string | null): void {
    this.#settle({ status: this.#killed ? 137 : status, fault, killed: this.#killed });
  }

  /** Ends the wait for a launcher that opens the box's life; Boxes calls it when the launcher is known to be gone, or for adopted boxes. */
  letGo(): void {
    if (this.#hold !== null) closeSync(this.#hold);
    this.#hold = null;
  }

  /** Watches the launcher as a child process: one that dies before it opened anything ends the box. */
  watch(child: ChildProcess): void {
    child.on("error", (error) => {
      writeFileSync(path.join(this.folder, "fault"), `${error.message}\n`);
      this.letGo();
    });
    child.on("exit", () => this.letGo());
    const { stdin, stdout, stderr } = child;
    this.pipes = { stdin, stdout, stderr };
    // A command that does not read its input is no error of ours.
    stdin?.on("error", () => {});
    child.unref();
  }

  /** Process id of the launcher, in the machine's numbering; 0 until it has told. */
  get launcher(): number {
    if (!this.#launcher) this.#launcher = Number(readText(path.join(this.folder, "pid"))) || 0;
    return this.#launcher;
  }

  /** The box's first process (pid 1 inside), in the machine's numbering; null before it is there. */
  get pid(): number | null {
    return (this.launcher && children(this.launcher)[0]) || null;
  }

  /** Every process of the command's, in the machine's numbering, the launcher's own left out. */
  pids(): number[] {
    const launcher = this.launcher;
    const first = this.pid;
    let all = this.#cgroups.pids(this.id);
    if (!all.length && launcher) all = descendants(launcher);
    return all.filter((pid) => pid !== launcher && pid !== first);
  }

  /** Sends a signal to all processes of the box; returns how many there were: none before the command runs. */
  signal(signal: NodeJS.Signals): number {
    const met = new Set<number>();
    for (let round = 0; round < SIGNAL_ROUNDS; round++) {
      const fresh = this.pids().filter((pid) => !met.has(pid));
      if (!fresh.length) break;
      for (const pid of fresh) {
        met.add(pid);
        send(pid, signal);
      }
    }
    return met.size;
  }

  /** Ends everything in the box at once; resolves when nothing of it is left. */
  async kill(): Promise<void> {
    this.#killed = true;
    // A launcher that has not told its process id yet would be missed, and go on.
    await this.#started;
    if (!this.#cgroups.kill(this.id)) {
      const first = this.pid;
      // With its first process the kernel ends the whole namespace.
      if (first) send(first, "SIGKILL");
    }
    for (;;) {
      const rest = [...this.pids(), this.pid, this.launcher].filter(
        (pid): pid is number => pid !== null && pid > 0,
      );
      const alive = rest.filter(isAlive);
      if (!alive.length) break;
      for (const pid of alive) send(pid, "SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, KILL_POLL_MS));
    }
    await this.#gone;
  }

  /** Opens the FIFOs of stdout and stderr for reading, not blocking; only for `fifo` boxes, before `free`. */
  outputs(): [number, number] {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    return [openSync(path.join(this.folder, "out"), flags), openSync(path.join(this.folder, "err"), flags)];
  }

  /** Reads what a FIFO still holds after the command's end; null when it is empty. */
  static rest(fd: number, buffer: Buffer): Buffer | null {
    try {
      const count = readSync(fd, buffer);
      return count > 0 ? buffer.subarray(0, count) : null;
    } catch {
      return null;
    }
  }

  /** Memory of the box; null where it is not counted. */
  memory(): MemoryUse | null {
    return this.#cgroups.memory(this.id);
  }

  /** Lets the launcher go and frees the box's folder, cgroups and network, after `exited`. */
  async free(): Promise<void> {
    const ack = path.join(this.folder, "ack");
    if (existsSync(ack)) {
      try {
        const fd = openSync(ack, constants.O_WRONLY | constants.O_NONBLOCK);
        writeSync(fd, "\n");
        closeSync(fd);
      } catch {
        // No reader: the launcher is gone.
      }
    }
    await this.#gone;
    await this.#free(this);
  }
}

/** Starts the launcher on ordinary streams. */
export function spawnLauncher(
  script: string,
  folder: string,
  cwd: string,
  stdio: ("ignore" | "pipe" | number | net.Socket)[],
): ChildProcess {
  // No environment of the platform's: what the box gets stands in its own files.
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  return spawn("/bin/sh", [script, folder], { cwd, env, stdio, detached: true });
}
