import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What a client knows of one Sluice: kept in `~/.config/sluice/config.json`, mode 0600. */
export interface ClientSettings {
  /** Base URL of the API, without a slash at the end. */
  url: string;
  key: string;
  /** Path of the CA's certificate (PEM) that signed the API's and the rendezvous' certificates. */
  ca?: string;
  /** Base URL of the same API over TLS: what the `heroku` CLI's git speaks to. */
  tlsUrl?: string;
}

/** Path of the client's settings of the user whose home directory is `userHome`. */
export const clientFile = (userHome: string): string =>
  path.join(userHome, ".config", "sluice", "config.json");

/**
 * The settings in `file`; null when there is no such file.
 * @throws Error with one sentence when the file cannot be used.
 */
export function readClientSettings(file: string): ClientSettings | null {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new Error(`${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
  try {
    const value = JSON.parse(text) as Partial<ClientSettings>;
    if (typeof value.url === "string" && typeof value.key === "string") return value as ClientSettings;
  } catch {
    // Told below: either way the file is not one that Sluice wrote.
  }
  throw new Error(`${file} does not hold a URL and a key; write it anew with \`sluice login URL\`.`);
}

/** Writes `settings` to `file` whole or not at all, readable by its owner alone; its folder is made. */
export function writeClientSettings(file: string, settings: ClientSettings): void {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}`;
  try {
    writeFileSync(draft, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o600 });
    chmodSync(draft, 0o600);
    renameSync(draft, file);
  } finally {
    rmSync(draft, { force: true });
  }
}
