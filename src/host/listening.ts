import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";

/** A dyno is seen listening within this time; after SLOW_AFTER_MS a slow boot is looked at less often. */
const LOOK_MS = 5;
const LOOK_SLOW_MS = 25;
const SLOW_AFTER_MS = 10_000;
/** Reading /proc/net/tcp to its end costs milliseconds (the kernel walks its whole table); listeners come first. */
const READ_BYTES = 450;
const LISTEN = "0A";

const read = (file: string): string => {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
};

/** Local address of a row in the kernel's hex form: true for 127.0.0.0/8, ::1 and ::ffff:127.0.0.0. */
const isLoopback = (address: string): boolean =>
  address.length === 8
    ? address.endsWith("7F")
    : address === "00000000000000000000000001000000" ||
      (address.startsWith("0000000000000000FFFF0000") && address.endsWith("7F"));

/** Inodes of the sockets that listen on `port` elsewhere than on loopback, from a table like /proc/net/tcp. */
function listeners(file: string, port: string): string[] {
  const found: string[] = [];
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch {
    return found;
  }
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let text = "";
    let header = true;
    for (;;) {
      const count = readSync(fd, buffer);
      if (count <= 0) return found;
      text += buffer.toString("latin1", 0, count);
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (header) {
          header = false;
          continue;
        }
        const fields = line.trim().split(/\s+/);
        if (fields[3] !== LISTEN) return found;
        const [address = "", local] = (fields[1] ?? "").split(":");
        if (local === port && !isLoopback(address)) found.push(fields[9] ?? "");
      }
    }
  } finally {
    closeSync(fd);
  }
}

/** True when one of the processes holds the socket with one of these inodes. */
function holds(pids: number[], inodes: string[]): boolean {
  const names = new Set(inodes.map((inode) => `socket:[${inode}]`));
  for (const pid of pids) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (names.has(readlinkSync(`/proc/${pid}/fd/${fd}`))) return true;
      }
    } catch {
      // It ended, or closed it, meanwhile.
    }
  }
  return false;
}

/**
 * Waits until a box listens on `port` on any address but loopback.
 * In a network of its own any listener is the box's; in the machine's, one of `pids` must hold the socket.
 */
export class ListenWatch {
  #timer: NodeJS.Timeout | null = null;
  #began = Date.now();
  #inUse = "";
  #pid: () => number | null;
  #pids: (() => number[]) | null;
  #port: string;
  #onListen: () => void;

  /** @param pids null for a box with a network of its own. */
  constructor(port: number, pid: () => number | null, pids: (() => number[]) | null, onListen: () => void) {
    this.#port = port.toString(16).toUpperCase().padStart(4, "0");
    this.#pid = pid;
    this.#pids = pids;
    this.#onListen = onListen;
    this.#look();
  }

  #look(): void {
    if (this.#listens()) {
      this.#timer = null;
      this.#onListen();
      return;
    }
    const wait = this.#pids || Date.now() - this.#began > SLOW_AFTER_MS ? LOOK_SLOW_MS : LOOK_MS;
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  #listens(): boolean {
    const pid = this.#pid();
    if (!pid) return false;
    const net = `/proc/${pid}/net`;
    if (!this.#pids) {
      // The count of sockets is cheap to read; the table is read only when it changed.
      const inUse =
        (/^TCP: inuse \d+/m.exec(read(`${net}/sockstat`))?.[0] ?? "") +
        (/^TCP6: inuse \d+/m.exec(read(`${net}/sockstat6`))?.[0] ?? "");
      if (inUse === this.#inUse) return false;
      this.#inUse = inUse;
    }
    const inodes = [...listeners(`${net}/tcp`, this.#port), ...listeners(`${net}/tcp6`, this.#port)];
    return inodes.length > 0 && (!this.#pids || holds(this.#pids(), inodes));
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
