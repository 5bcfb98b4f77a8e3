// plan.js BUILD: reads package.json and the lockfiles once and prints what bin/compile needs as shell variables.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const build = process.argv[2];
const fail = (...lines) => {
  for (const line of lines) console.error(` !     ${line}`);
  process.exit(1);
};
let json;
try {
  json = JSON.parse(fs.readFileSync(path.join(build, "package.json"), "utf8").replace(/^\uFEFF/, ""));
} catch (error) {
  fail("Unable to parse package.json", `       ${error.message}`, "Correct it, and push again.");
}
if (typeof json !== "object" || json === null || Array.isArray(json)) fail("package.json is not a JSON object; correct it, and push again.");

const has = (name) => fs.existsSync(path.join(build, name));
const locks = [
  ["npm", "package-lock.json"],
  ["npm", "npm-shrinkwrap.json"],
  ["yarn", "yarn.lock"],
  ["pnpm", "pnpm-lock.yaml"],
].filter(([, file]) => has(file));
const managers = new Set(locks.map(([manager]) => manager));
if (managers.size > 1) {
  fail(
    "Build failed",
    "",
    "       Two different lockfiles found: " + locks.map(([, file]) => file).join(" and "),
    "",
    "       Each package manager keeps a lockfile of its own, and they may install different versions.",
    "       Keep the one that you use: git rm <the other>, commit, and push again.",
  );
}
const scripts = typeof json.scripts === "object" && json.scripts ? json.scripts : {};
const engines = typeof json.engines === "object" && json.engines ? json.engines : {};
const named = /^(npm|yarn|pnpm)@([^+\s]+)/.exec(String(json.packageManager ?? ""));
const manager = managers.values().next().value ?? named?.[1] ?? (engines.pnpm ? "pnpm" : engines.yarn && !engines.npm ? "yarn" : "npm");
const version = (named && named[1] === manager && named[2]) || (typeof engines[manager] === "string" ? engines[manager] : "");
const count = (field) => (json[field] && typeof json[field] === "object" ? Object.keys(json[field]).length : 0);
const dependencies = count("dependencies") + count("devDependencies") + count("optionalDependencies");
const workspaces = Boolean(json.workspaces) || has("pnpm-workspace.yaml");
const berry = manager === "yarn" && has("yarn.lock") && /^__metadata:/m.test(fs.readFileSync(path.join(build, "yarn.lock"), "utf8").slice(0, 2000));

const values = {
  engine: typeof engines.node === "string" ? engines.node.trim() : "",
  manager,
  manager_version: version,
  lockfile: locks[0]?.[1] ?? "",
  dependencies: String(dependencies + (workspaces ? 1 : 0)),
  dev_dependencies: String(count("devDependencies")),
  berry: berry ? "yes" : "",
  committed_modules: has("node_modules") ? "yes" : "",
  start_script: typeof scripts.start === "string" ? "yes" : "",
  server_js: has("server.js") ? "yes" : "",
  prebuild: typeof scripts["heroku-prebuild"] === "string" ? "heroku-prebuild" : "",
  build_script: ["heroku-postbuild", "build"].find((name) => typeof scripts[name] === "string") ?? "",
  cleanup: typeof scripts["heroku-cleanup"] === "string" ? "heroku-cleanup" : "",
  lifecycle: ["preinstall", "install", "postinstall", "prepare"].some((name) => typeof scripts[name] === "string") ? "yes" : "",
};
const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
for (const [name, value] of Object.entries(values)) console.log(`${name}=${quote(value)}`);
