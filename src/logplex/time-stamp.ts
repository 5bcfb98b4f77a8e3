/** Length of `2026-11-24T14:00:00.123456+00:00`. */
export const STAMP_LENGTH = 32;

const ZERO = 48;
const second = Buffer.alloc(20);
const zone = Buffer.from("+00:00");
let held = Number.NaN;

/**
 * Writes `micros` (microseconds since the epoch) at `at` as `2026-11-24T14:00:00.123456+00:00`. Lines come in
 * runs of one second, so the part before the fraction is made once a second.
 */
export function writeStamp(out: Uint8Array, at: number, micros: number): void {
  const whole = Math.floor(micros / 1e6);
  if (whole !== held) {
    const date = new Date(whole * 1000);
    // A time that no calendar has must not break the line that carries it.
    second.write(
      Number.isNaN(date.getTime()) ? "1970-01-01T00:00:00." : date.toISOString().slice(0, 20),
      "latin1",
    );
    held = whole;
  }
  for (let i = 0; i < 20; i += 1) out[at + i] = second[i]!;
  let rest = micros - whole * 1e6;
  for (let i = 25; i >= 20; i -= 1) {
    const tenth = (rest / 10) | 0;
    out[at + i] = ZERO + ((rest - tenth * 10) | 0);
    rest = tenth;
  }
  for (let i = 0; i < 6; i += 1) out[at + 26 + i] = zone[i]!;
}

/** The same as text, for the Logplex's own lines. */
export function stampText(micros: number): string {
  const out = Buffer.alloc(STAMP_LENGTH);
  writeStamp(out, 0, micros);
  return out.toString("latin1");
}

/** Now, in microseconds since the epoch. */
export const nowMicros = (): number => Math.round((performance.timeOrigin + performance.now()) * 1000);
