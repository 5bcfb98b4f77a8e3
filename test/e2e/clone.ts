import { spawnSync } from "node:child_process";
import { cpSync, existsSync } from "node:fs";
import path from "node:path";
import { checkout } from "../../src/supervisor/checkout.ts";

/** A copy of what runs, where it is wanted; node_modules too, as a clone has its own. */
export function cloneTo(folder: string): void {
  for (const name of ["bin", "dist", "buildpacks", "examples", "src", "node_modules"]) {
    const from = path.join(checkout, name);
    if (existsSync(from)) spawnSync("cp", ["-RL", "--preserve=mode,timestamps", from, folder]);
  }
  for (const name of ["package.json", "package-lock.json", "tsconfig.json"]) {
    cpSync(path.join(checkout, name), path.join(folder, name), { preserveTimestamps: true });
  }
}
