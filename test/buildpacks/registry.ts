import { execFileSync } from "node:child_process";

/*
 * npm's registry as the machine's npm is set to reach it. Tests that install from it are small, and are left
 * out where it cannot be reached, except in the full run.
 */

const npm = (...args: string[]): string =>
  execFileSync("npm", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 30_000 }).trim();

/** Why nothing can be installed here; null when it can. */
export function registryReason(): string | null {
  try {
    npm("view", "ms@2.1.3", "version", "--fetch-retries=0");
    return null;
  } catch {
    return "npm's registry cannot be reached from here";
  }
}

/** The operator's settings that lead builds to it. */
export function registrySettings(): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const name of ["registry", "cafile", "https-proxy", "proxy", "noproxy"]) {
    const value = npm("config", "get", name);
    if (value && value !== "null" && value !== "undefined")
      settings[`npm_config_${name.replace("-", "_")}`] = value;
  }
  return settings;
}
