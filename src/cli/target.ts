import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { clientFile, readClientSettings } from "../config/client.ts";
import { Failure, UsageFailure } from "./failure.ts";

/** The Sluice that a command speaks to. */
export interface Target {
  /** Base URL of the API, without a slash at the end. */
  url: string;
  key: string;
  /** Path of the private CA's certificate; null: only the public ones are trusted. */
  ca: string | null;
  /** Base URL of the same API over TLS. */
  tlsUrl: string;
}

const DEFAULT_URL = "http://127.0.0.1:5000";
const DEFAULT_TLS_PORT = "5443";

/** `text` as a base URL without a slash at the end. */
export function baseUrl(text: string, what: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new UsageFailure(`${what} is "${text}"; it must be a URL such as ${DEFAULT_URL}.`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new UsageFailure(`${what} is "${text}"; it must begin with http:// or https://.`);
  }
  return url.origin;
}

export const settingsFile = (env: NodeJS.ProcessEnv): string => clientFile(env.HOME || homedir());

/**
 * Which Sluice is meant: SLUICE_API_URL and SLUICE_API_KEY, each else from the settings file. A key from the
 * file goes only to the URL that the file names.
 */
export function readTarget(env: NodeJS.ProcessEnv): Target {
  const saved = env.SLUICE_API_URL && env.SLUICE_API_KEY ? readSavedIfAny(env) : readSaved(env);
  const savedUrl = saved ? baseUrl(saved.url, `The URL in ${settingsFile(env)}`) : null;
  const url = env.SLUICE_API_URL ? baseUrl(env.SLUICE_API_URL, "SLUICE_API_URL") : (savedUrl ?? DEFAULT_URL);
  const isSaved = saved !== null && (url === savedUrl || url === saved.tlsUrl);
  const key = env.SLUICE_API_KEY || (isSaved ? saved.key : "");
  if (!key) {
    throw new Failure(
      saved || env.SLUICE_API_URL
        ? `There is no API key for ${url}; log in with \`sluice login ${url}\` or set SLUICE_API_KEY.`
        : "There is no Sluice to speak to yet: start one with `npm start`, or log in to one with `sluice login URL`.",
    );
  }
  return {
    url,
    key,
    ca: env.SLUICE_CA || (isSaved && saved.ca) || homeCa(env),
    tlsUrl: (isSaved && saved.tlsUrl) || tlsUrlOf(url, env),
  };
}

const readSaved = (env: NodeJS.ProcessEnv) => {
  try {
    return readClientSettings(settingsFile(env));
  } catch (error) {
    throw new Failure((error as Error).message);
  }
};

/** With everything in the environment a settings file that cannot be read does no harm. */
const readSavedIfAny = (env: NodeJS.ProcessEnv) => {
  try {
    return readClientSettings(settingsFile(env));
  } catch {
    return null;
  }
};

/** The CA of a home that the user names; never one found in the working directory, which may be anybody's. */
function homeCa(env: NodeJS.ProcessEnv): string | null {
  if (!env.SLUICE_HOME) return null;
  const file = path.resolve(env.SLUICE_HOME, "ca.pem");
  try {
    readFileSync(file);
    return file;
  } catch {
    return null;
  }
}

function tlsUrlOf(url: string, env: NodeJS.ProcessEnv): string {
  const tls = new URL(url);
  if (tls.protocol === "https:") return url;
  tls.protocol = "https:";
  tls.port = env.SLUICE_API_TLS_PORT || DEFAULT_TLS_PORT;
  return tls.origin;
}

/** The CA's certificate for `tls.connect` and `https`; null when there is none. */
export function readCa(target: Pick<Target, "ca">): string | null {
  if (!target.ca) return null;
  try {
    return readFileSync(target.ca, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new Failure(
      `The CA's certificate ${target.ca} cannot be read (${code}); name another by SLUICE_CA.`,
    );
  }
}
