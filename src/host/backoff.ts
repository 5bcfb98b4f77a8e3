/**
 * Seconds before the restart after the first, second, … crash in a row: the first at once, then growing within
 * Heroku's "up to 20 minutes", then its 40, 60, 180 and 320 minutes (Heroku, "Dynos: dyno crash restart policy").
 */
const DEFAULT_SECONDS = [0, 5, 30, 120, 600, 1200, 2400, 3600, 10_800, 19_200];
/** A dyno that was up this long, and as long as its last wait, has started correctly: the row begins anew. */
const CORRECT_START_SECONDS = 60;

const steps: readonly number[] = (() => {
  const set = process.env.SLUICE_CRASH_BACKOFF?.split(",").map(Number) ?? [];
  return set.length && set.every((value) => value >= 0) ? set : DEFAULT_SECONDS;
})();

/** Milliseconds to wait before the restart after crash number `crashes` (from 1) in a row. */
export const crashWait = (crashes: number): number =>
  (steps[Math.min(crashes, steps.length) - 1] ?? 0) * 1000;

/** True when a dyno that was up for `upMs` after `crashes` crashes counts as started correctly. */
export const startedCorrectly = (upMs: number, crashes: number): boolean =>
  upMs >= Math.max(CORRECT_START_SECONDS * 1000, crashes ? crashWait(crashes) : 0);
