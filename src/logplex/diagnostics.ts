import { type Logger, pino } from "pino";

/** The Logplex's own diagnostics, on stderr; never a line of an app, never a drain's URL. */
export function diagnostics(level: string): Logger {
  return pino(
    { name: "logplex", level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  );
}
