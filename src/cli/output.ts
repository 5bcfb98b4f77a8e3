import type { Writable } from "node:stream";

export type Colour = "red" | "green" | "yellow" | "blue" | "magenta" | "cyan" | "dim" | "bold";

const CODES: Record<Colour, number> = {
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
  dim: 2,
  bold: 1,
};

/** Where a command prints: results on `out`, remarks and errors on `err`. */
export class Output {
  readonly #out: Writable & { isTTY?: boolean };
  readonly #err: Writable & { isTTY?: boolean };
  readonly #coloured: boolean;

  constructor(
    out: Writable & { isTTY?: boolean },
    err: Writable & { isTTY?: boolean },
    env: NodeJS.ProcessEnv,
  ) {
    this.#out = out;
    this.#err = err;
    // https://no-color.org: any value that is not empty.
    this.#coloured = out.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
  }

  /** True when a person reads the results on a terminal. */
  get isTerminal(): boolean {
    return this.#out.isTTY === true;
  }

  line(text = ""): void {
    this.#out.write(`${text}\n`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }

  /** A remark that is no part of the result. */
  remark(text: string): void {
    this.#err.write(`${text}\n`);
  }

  /** A remark for a person who watches; a script's stderr stays clean. */
  hint(text: string): void {
    if (this.#err.isTTY) this.remark(text);
  }

  /** Writes bytes and resolves when there is room for more. */
  async write(bytes: Uint8Array | string): Promise<void> {
    if (bytes.length === 0 || this.#out.write(bytes)) return;
    await new Promise<void>((resolve) => this.#out.once("drain", () => resolve()));
  }

  paint(colour: Colour, text: string): string {
    return this.#coloured ? `\u001B[${CODES[colour]}m${text}\u001B[0m` : text;
  }

  /** Paints the cells of one column that `colours` names; for `table`. */
  painter(column: number, colours: Readonly<Record<string, Colour>>): (cell: string, at: number) => string {
    return (cell, at) => {
      const colour = at === column ? colours[cell] : undefined;
      return colour ? this.paint(colour, cell) : cell;
    };
  }

  /** A table under `heads`, columns two spaces apart; `paint` colours a cell after its width is known. */
  table(
    heads: readonly string[],
    rows: readonly (readonly string[])[],
    paint: (cell: string, column: number) => string = (cell) => cell,
  ): void {
    const widths = heads.map((head, column) =>
      Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)),
    );
    const last = heads.length - 1;
    const draw = (row: readonly string[], colour: (cell: string, column: number) => string): string =>
      row
        .map((cell, column) => {
          const gap = column === last ? "" : " ".repeat(widths[column]! - cell.length);
          return colour(cell, column) + gap;
        })
        .join("  ")
        .trimEnd();
    this.line(draw(heads, (cell) => this.paint("dim", cell)));
    for (const row of rows) this.line(draw(row, paint));
  }

  /** `name: value` lines, the values below each other. */
  fields(fields: readonly (readonly [name: string, value: string])[]): void {
    const width = Math.max(...fields.map(([name]) => name.length)) + 1;
    for (const [name, value] of fields) this.line(`${`${name}:`.padEnd(width)} ${value}`);
  }
}

/** How long ago `time` (ISO 8601) was, in its largest unit: `5s`, `3m`, `2h`, `4d`. */
export function ago(time: string, now = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (Number.isNaN(seconds)) return "";
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

/** Bytes for people: `667B`, `20.7M`, `1.2G`. */
export function bytes(count: number): string {
  const units = ["B", "K", "M", "G", "T"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}${units[unit]}`;
}
