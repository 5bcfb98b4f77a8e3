import { spawnSync } from "node:child_process";
import { lookUpUser, type PartUser, type UserIds } from "../config/users.ts";
import { StartError } from "./start-error.ts";

/**
 * The system users that the parts run as, made where they are missing. Needs root.
 * @throws StartError when a user is missing and cannot be made.
 */
export function makeSystemUsers(): Record<Exclude<PartUser, "root">, UserIds> {
  return {
    sluice: make("sluice"),
    "sluice-edge": make("sluice-edge"),
    "sluice-logplex": make("sluice-logplex"),
  };
}

function make(name: string): UserIds {
  const there = lookUpUser(name);
  if (there) return there;
  const options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"];
  const { status, stderr, error } = spawnSync(
    "useradd",
    [...options, "--shell", "/usr/sbin/nologin", name],
    // Cron and slim images have a PATH without the administrator's folders.
    { encoding: "utf8", env: { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` } },
  );
  const made = lookUpUser(name);
  if (made) return made;
  throw new StartError(
    error
      ? `Sluice needs a system user named ${name}, and useradd is not installed to make it: install the package passwd, or add the user yourself.`
      : `Sluice needs a system user named ${name}, and useradd (status ${status}) did not make it: ${stderr.trim()}`,
  );
}
