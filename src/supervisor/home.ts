import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { randomSecret } from "../config/environment.ts";
import type { Layout } from "../config/layout.ts";
import type { UserIds } from "../config/users.ts";
import { StartError } from "./start-error.ts";

/** Version of what lies in a home; a program that changes it in a way that older ones would harm adds one. */
export const HOME_VERSION = 1;

const MiB = 1024 * 1024;
/** A first start writes PostgreSQL's files (some 40 MB); a later one needs room for its write-ahead log. */
const FIRST_START_BYTES = 96 * MiB;
const LATER_START_BYTES = 24 * MiB;

/** Node cuts socket paths at 107 bytes without a word; the longest name below the folder has 19. */
const SOCKET_FOLDER_LIMIT = 107 - "/logplex-control.sock".length;

/** Owners of the home's folders when Sluice is root's; null: all belong to the one user. */
export interface Owners {
  control: UserIds;
  edge: UserIds;
  logplex: UserIds;
}

/**
 * Makes sure that `home` is a folder that this Sluice may use, and makes it when there is none.
 * @throws StartError when it holds something else, is of a newer Sluice, is another user's or its disk is full.
 */
export function openHome(home: string, asRoot: boolean): void {
  mkdirSync(home, { recursive: true, mode: asRoot ? 0o711 : 0o700 });
  const { uid: owner } = statSync(home);
  if (owner !== process.getuid?.()) {
    throw new StartError(
      `SLUICE_HOME (${home}) belongs to another user (${owner}): start Sluice as that user, or name another folder.`,
    );
  }
  const file = path.join(home, "version");
  const version = existsSync(file) ? readFileSync(file, "utf8").trim() : null;
  if (version === null && readdirSync(home).some((name) => name !== "lost+found")) {
    throw new StartError(
      `SLUICE_HOME (${home}) holds other files and was not made by Sluice: name an empty or a new folder.`,
    );
  }
  if (version !== null && !(Number(version) >= 1 && Number(version) <= HOME_VERSION)) {
    throw new StartError(
      `SLUICE_HOME (${home}) was made by a newer Sluice (its version is ${version}, this one knows ${HOME_VERSION}): run that Sluice, or name another folder.`,
    );
  }
  const { bavail, bsize } = statfsSync(home);
  const needed = existsSync(path.join(home, "pg", "PG_VERSION")) ? LATER_START_BYTES : FIRST_START_BYTES;
  if (bavail * bsize < needed) {
    throw new StartError(
      `The disk that holds ${home} is full (${Math.floor((bavail * bsize) / MiB)} MB are free, ${needed / MiB} MB are needed): free some space, then start again.`,
    );
  }
  if (version === null) writeWhole(file, `${HOME_VERSION}\n`, 0o644);
}

/** Makes the home's folders, one 0700 folder an owner, and mends owners and modes that were changed. */
export function makeFolders(layout: Layout, owners: Owners | null): void {
  chmodSync(layout.home, owners ? 0o711 : 0o700);
  const mine: UserIds = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const folder = (name: string, owner: UserIds): void => {
    mkdirSync(name, { recursive: true, mode: 0o700 });
    chmodSync(name, 0o700);
    chownSync(name, owner.uid, owner.gid);
  };
  folder(layout.control, owners?.control ?? mine);
  folder(layout.slugs, owners?.control ?? mine);
  folder(layout.edge, owners?.edge ?? mine);
  folder(layout.logplex, owners?.logplex ?? mine);
  folder(layout.host, mine);
  // Control writes the CA's certificate here for all to read; it cannot make a file in root's folder.
  closeSync(openSync(layout.caFile, "a", 0o644));
  chmodSync(layout.caFile, 0o644);
  if (owners) chownSync(layout.caFile, owners.control.uid, owners.control.gid);
}

/**
 * Makes the folder of the parts' sockets: root's is below /run, a user's only that user's.
 * @throws StartError when another user made one by that name first, or its path is too long for a socket.
 */
export function makeSocketFolder(folder: string, owners: Owners | null): void {
  if (Buffer.byteLength(folder) > SOCKET_FOLDER_LIMIT) {
    throw new StartError(
      `The folder for sockets has too long a name (${folder}): set SLUICE_SOCKETS to one of at most ${SOCKET_FOLDER_LIMIT} bytes.`,
    );
  }
  mkdirSync(folder, { recursive: true, mode: owners ? 0o711 : 0o700 });
  const stat = lstatSync(folder);
  // /tmp is everybody's: a folder or link that another user laid there would give the links away.
  if (!stat.isDirectory() || stat.uid !== process.getuid?.()) {
    throw new StartError(
      `${folder} belongs to another user: remove it, or set SLUICE_SOCKETS to another folder.`,
    );
  }
  chmodSync(folder, owners ? 0o711 : 0o700);
}

/**
 * The API key in force, also kept alone in the home's `api-key` (0600): `given` by the operator, else the one
 * that is there, else a new one.
 */
export function keepApiKey(layout: Layout, given: string | undefined): string {
  const kept = existsSync(layout.apiKeyFile) ? readFileSync(layout.apiKeyFile, "utf8").trim() : "";
  const key = given || kept || randomSecret();
  if (key !== kept) writeWhole(layout.apiKeyFile, `${key}\n`, 0o600);
  return key;
}

/** Writes a file whole or not at all. */
function writeWhole(file: string, text: string, mode: number): void {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, text, { mode, flush: true });
  renameSync(temporary, file);
}
