import { execFileSync } from "node:child_process";
import { UsageFailure } from "./failure.ts";

/** Git remotes that name an app, the first found wins. */
const REMOTE_NAMES = ["sluice", "heroku"] as const;

/** Runs git in `cwd`; null when it fails or is not installed. */
export function git(cwd: string, ...args: string[]): string | null {
  try {
    return execFileSync("git", args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trimEnd();
  } catch {
    return null;
  }
}

export const inRepository = (cwd: string): boolean => git(cwd, "rev-parse", "--git-dir") !== null;

/** URLs of the repository's remotes by name; empty outside a repository. */
export function remotes(cwd: string): Map<string, string> {
  const found = new Map<string, string>();
  // One remote may have several URLs (push to all): the first is the one that names the app.
  for (const line of git(cwd, "config", "--get-regexp", "^remote\\..*\\.url$")?.split("\n") ?? []) {
    const [, name, url] = /^remote\.(.+)\.url (.+)$/.exec(line) ?? [];
    if (name && url && !found.has(name)) found.set(name, url);
  }
  return found;
}

/** The app that a git URL names: `http://x:KEY@127.0.0.1:5000/hello.git` is `hello`; null when it is none. */
export function appOfUrl(url: string): string | null {
  return /[/:]([a-z][a-z0-9-]{1,28}[a-z0-9])(?:\.git)?\/?$/.exec(url)?.[1] ?? null;
}

/** The app meant: `--app`, else `--remote`, else SLUICE_APP, else the remote `sluice` or `heroku`. */
export function chooseApp(
  options: { app?: string; remote?: string },
  env: NodeJS.ProcessEnv,
  cwd: string,
): string {
  if (options.app) return options.app;
  if (!options.remote && env.SLUICE_APP) return env.SLUICE_APP;
  const known = remotes(cwd);
  for (const name of options.remote ? [options.remote] : REMOTE_NAMES) {
    const url = known.get(name);
    const app = url ? appOfUrl(url) : null;
    if (app) return app;
    if (url) throw new UsageFailure(`The git remote ${name} (${redacted(url)}) names no app; use -a APP.`);
    if (options.remote) throw new UsageFailure(`This repository has no git remote ${name}; use -a APP.`);
  }
  throw new UsageFailure(
    "Which app? Use -a APP, set SLUICE_APP, or work in a repository with a git remote `sluice`.",
  );
}

/** `url` without a password that may stand in it. */
export const redacted = (url: string): string => url.replace(/\/\/[^/@]*@/, "//");
