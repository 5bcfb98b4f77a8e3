import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";

/** Bytes of output that are kept of one build; more is dropped, and the output says so. */
export const OUTPUT_LIMIT = 32 * 1024 * 1024;
const READ_BYTES = 64 * 1024;

/** The output of a build that runs: a file that grows, and any number of readers that follow it. */
export class BuildOutput {
  readonly file: string;
  #handle: FileHandle;
  #size: number;
  #ended = false;
  #writing: Promise<void> = Promise.resolve();
  #waiting = new Set<() => void>();

  private constructor(file: string, handle: FileHandle, size: number) {
    this.file = file;
    this.#handle = handle;
    this.#size = size;
  }

  /** Opens the output kept at `file`, to be appended to. */
  static async open(file: string): Promise<BuildOutput> {
    const handle = await open(file, "a", 0o600);
    return new BuildOutput(file, handle, (await handle.stat()).size);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Adds text; resolves when it is in the file, so a caller that awaits it never outruns the disk. */
  append(text: string | Uint8Array): Promise<void> {
    const bytes = typeof text === "string" ? Buffer.from(text) : text;
    this.#writing = this.#writing.then(() => this.#write(bytes));
    return this.#writing;
  }

  lines(...lines: string[]): Promise<void> {
    return this.append(`${lines.join("\n")}\n`);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#ended || this.#size >= OUTPUT_LIMIT) return;
    let kept = bytes;
    if (this.#size + bytes.length > OUTPUT_LIMIT) {
      const note = Buffer.from(
        `\n !     The build printed more than ${OUTPUT_LIMIT >> 20} MiB; the rest is not kept.\n`,
      );
      kept = Buffer.concat([bytes.subarray(0, OUTPUT_LIMIT - this.#size), note]);
    }
    await this.#handle.appendFile(kept);
    this.#size += kept.length;
    this.#wake();
  }

  /** Nothing more comes: readers end when they have read all. */
  async end(): Promise<void> {
    await this.#writing;
    if (this.#ended) return;
    this.#ended = true;
    await this.#handle.close();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Resolves at the next growth past `from`, or at the end. */
  grown(from: number): Promise<void> {
    if (this.#ended || this.#size > from) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  /** Everything from byte `from` on, and what is still to come. */
  follow(from = 0): Readable {
    return readOutput(this.file, from, this);
  }
}

/** Reads an output file from byte `from`; with `live`, waits at its end until the build's output has ended. */
export function readOutput(file: string, from: number, live: BuildOutput | null): Readable {
  return Readable.from(pieces(file, from, live), { objectMode: false, highWaterMark: READ_BYTES });
}

async function* pieces(file: string, from: number, live: BuildOutput | null): AsyncGenerator<Buffer> {
  const handle = await open(file, "r");
  try {
    let at = from;
    for (;;) {
      // Looked at before the read: what was written before the end is then surely read.
      const last = !live || live.ended;
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, at);
      if (bytesRead > 0) {
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      } else if (last) {
        return;
      } else {
        await live!.grown(at);
      }
    }
  } finally {
    await handle.close();
  }
}
