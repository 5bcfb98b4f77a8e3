// `npm run bench -- edge|logplex|deploy`: one measurement each, with its peers, as a table.
import path from "node:path";
import { checkout } from "./running.js";
import { setUpOrExit } from "./setup.js";

const BENCHES = ["edge", "logplex", "deploy"];

const name = process.argv[2] ?? "";
if (!BENCHES.includes(name)) {
  console.error(`Say which measurement: npm run bench -- ${BENCHES.join("|")}`);
  process.exit(2);
}
await setUpOrExit();
const file = path.join(checkout, "dist", "bench", `${name}.js`);
process.argv.splice(1, 2, file);
await import(file);
