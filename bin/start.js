// `npm start`: sets the checkout up when something changed, then becomes `sluice up` in this very process.
import { setUpOrExit } from "./setup.js";

// What npm adds to the environment of its scripts is about this checkout; the operator's own npm_config_*
// go on to builds, npm's must not.
const NPMS_OWN =
  /^npm_(lifecycle_|package_|execpath$|node_execpath$|command$|config_(user_agent|node_gyp|local_prefix|global_prefix|globalconfig|userconfig|init_module|npm_version|prefix|cache|noproxy)$)/;

await setUpOrExit();
for (const name of Object.keys(process.env)) if (NPMS_OWN.test(name)) delete process.env[name];
// package.json says `start.js up`: the command line must be as long as the title `sluice: supervisor`.
const args = process.argv.slice(2);
const { up } = await import("../dist/src/supervisor/up.js");
await up(args[0] === "up" ? args.slice(1) : args);
