import path from "node:path";
import { invalidParams } from "../errors.ts";

/** Names under which the shipped buildpacks go, in the order in which they are asked when none is set. */
export const SHIPPED = ["nodejs", "python", "static"] as const;

/** What a user's buildpack stands for. */
export type BuildpackSource =
  | { kind: "shipped"; name: string }
  | { kind: "path"; path: string }
  | { kind: "git"; url: string; ref: string | null }
  | { kind: "tarball"; url: string };

const REGISTRY =
  /^(?:https?:\/\/[^/]+\/buildpacks\/|urn:buildpack:)?(?:heroku|sluice)(?:\/|%2f)([a-z0-9-]+)(?:\.tgz)?$/i;
const LONGEST = 2000;

/**
 * Reads a buildpack as users name it: `heroku/nodejs`, the registry's URL of it, a git or tarball URL with
 * `#branch-or-tag`, or a path below `folders` (SLUICE_BUILDPACK_PATH).
 * @throws ApiError 422 that says what may stand there.
 */
export function readBuildpack(text: string, folders: readonly string[]): BuildpackSource {
  const given = text.trim();
  if (!given || given.length > LONGEST)
    throw invalidParams("A buildpack is a name or a URL of at most 2000 characters.");
  const shipped = REGISTRY.exec(given);
  if (shipped) {
    const name = shipped[1]!.toLowerCase();
    if ((SHIPPED as readonly string[]).includes(name)) return { kind: "shipped", name };
    throw invalidParams(
      `The buildpack heroku/${name} is not shipped with Sluice; those that are: ${SHIPPED.map((own) => `heroku/${own}`).join(", ")}. Give the git URL of another.`,
    );
  }
  if (given.startsWith("/") || given.startsWith("file:///")) {
    const folder = path.resolve(given.replace(/^file:\/\//, ""));
    if (folders.some((allowed) => folder === allowed || folder.startsWith(`${allowed}/`))) {
      return { kind: "path", path: folder };
    }
    throw invalidParams(
      "A buildpack may be named by path only below a folder that the operator lists in SLUICE_BUILDPACK_PATH.",
    );
  }
  let url: URL;
  try {
    url = new URL(given);
  } catch {
    throw invalidParams(
      `"${given}" is no buildpack; give heroku/<name>, the URL of a git repository, or the URL of a .tgz.`,
    );
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw invalidParams("A buildpack's URL begins with https:// or http://.");
  }
  const ref = decodeURIComponent(url.hash.slice(1)) || null;
  url.hash = "";
  if (/\.(tgz|tar\.gz)$/.test(url.pathname) || /\/archive\/|\/tarball\//.test(url.pathname)) {
    return { kind: "tarball", url: url.href };
  }
  if (ref && !/^[\w][\w./-]{0,200}$/.test(ref))
    throw invalidParams("What stands behind # is no branch, tag or commit.");
  return { kind: "git", url: url.href, ref };
}

/** As it is shown and kept: the short name of a shipped one, else the text as given, without a password. */
export function showBuildpack(text: string, folders: readonly string[]): { name: string; url: string } {
  const source = readBuildpack(text, folders);
  if (source.kind === "shipped") return { name: `heroku/${source.name}`, url: `heroku/${source.name}` };
  if (source.kind === "path") return { name: source.path, url: source.path };
  return { name: withoutPassword(text.trim()), url: text.trim() };
}

/** A URL fit for output: its user and password are left out. */
export const withoutPassword = (url: string): string => url.replace(/^(\w+:\/\/)[^/@]*@/, "$1");
