import { writeSync } from "node:fs";
import { type Logger, pino } from "pino";

/** Members that hold secrets wherever they stand. */
const SECRET_MEMBERS = ["authorization", "password", "token", "key", "secret", "config", "env", "url"];

/** `scheme://user:password@`, and what follows Bearer or Basic. */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"'\\]*@/gi;
const CREDENTIALS = /\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi;

/** `line` without passwords of URLs, credentials of requests, and the given secrets. */
export function redact(line: string, secrets: readonly string[] = []): string {
  let clean = line.replace(URL_PASSWORD, "$1[redacted]@").replace(CREDENTIALS, "$1 [redacted]");
  for (const secret of secrets) if (secret) clean = clean.replaceAll(secret, "[redacted]");
  return clean;
}

/**
 * Control's own diagnostics: JSON lines on `write`, stderr by default. Each whole line is redacted as it leaves,
 * since an error's message or stack may hold what no member name gives away.
 */
export function makeDiagnostics(
  level: string,
  secrets: readonly string[],
  write: (line: string) => void = toStderr,
): Logger {
  return pino(
    {
      level,
      base: { part: "control" },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: SECRET_MEMBERS.flatMap((name) => [name, `*.${name}`]),
        censor: "[redacted]",
      },
    },
    { write: (line: string) => write(redact(line, secrets)) },
  );
}

function toStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // A reader that is gone or slow must not end control.
  }
}
