import { readFileSync } from "node:fs";

/** The systems that slugs are built for: Debian 12 stands for heroku-22, Debian 13 for heroku-24. */
export const STACKS = ["heroku-22", "heroku-24"] as const;
export type Stack = (typeof STACKS)[number];

/** The stack of this machine's /usr; the newest where the system is another. */
export function machineStack(osRelease = "/etc/os-release"): Stack {
  try {
    const text = readFileSync(osRelease, "utf8");
    const id = /^ID="?(\w+)/m.exec(text)?.[1];
    const version = Number(/^VERSION_ID="?(\d+)/m.exec(text)?.[1]);
    if (id === "debian") return version <= 12 ? "heroku-22" : "heroku-24";
    if (id === "ubuntu") return version < 24 ? "heroku-22" : "heroku-24";
  } catch {
    // A system without os-release is none of the known ones.
  }
  return "heroku-24";
}
