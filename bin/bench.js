// `npm run bench -- edge|logplex|deploy`: one measurement each, with its peers, as a table.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { checkout } from "./running.js";
import { setUpOrExit } from "./setup.js";

await setUpOrExit();
const name = process.argv[2] ?? "";
const file = path.join(checkout, "dist", "bench", `${name}.js`);
const source = path.join(checkout, "bench");
if (!/^[a-z]+$/.test(name) || !existsSync(file)) {
  const names = readdirSync(source).flatMap((entry) => (entry.endsWith(".ts") ? [entry.slice(0, -3)] : []));
  console.error(`Say which measurement: npm run bench -- ${names.join("|")}`);
  process.exit(2);
}
process.argv.splice(1, 2, file);
await import(file);
