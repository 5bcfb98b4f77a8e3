import { statSync } from "node:fs";
import {
  type ClientSettings,
  clientFile,
  readClientSettings,
  writeClientSettings,
} from "../config/client.ts";

/**
 * Writes the settings of the `sluice` command for the user who starts Sluice, so that the command works at
 * once. Only where that is safe: the home directory is that user's own (sudo may keep another's), and a login
 * to a Sluice elsewhere is not overwritten. Returns a note when it was left alone, else null.
 */
export function offerClientSettings(userHome: string | undefined, settings: ClientSettings): string | null {
  if (!userHome || statSync(userHome, { throwIfNoEntry: false })?.uid !== process.getuid?.()) {
    return `HOME is not this user's own folder, so the sluice command is not set up for it: use \`sluice login ${settings.url}\`.`;
  }
  const file = clientFile(userHome);
  try {
    const theirs = elsewhere(file);
    if (theirs) {
      return `${file} names another Sluice (${theirs}) and is left alone: use \`sluice login ${settings.url}\` to change to this one.`;
    }
    writeClientSettings(file, settings);
    return null;
  } catch (error) {
    return `The settings of the sluice command could not be written: ${(error as Error).message}.`;
  }
}

/** The URL of a Sluice on another machine that the file holds; null when there is none. */
function elsewhere(file: string): string | null {
  try {
    const url = readClientSettings(file)?.url;
    if (!url) return null;
    const { hostname } = new URL(url);
    return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.") ? null : url;
  } catch {
    // A file that cannot be used holds no login to keep.
    return null;
  }
}
