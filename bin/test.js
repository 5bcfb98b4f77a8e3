// `npm test [-- FOLDER…]`: set-up, Biome, the compiler, then every test, or those below the named folders.
// SLUICE_TEST_FULL=1: installs from Debian what the tests need first, and then nothing may be skipped.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { checkout } from "./running.js";
import { setUpOrExit } from "./setup.js";

/** Debian's packages that the full suite uses, each with what for. */
const PACKAGES = [
  "ca-certificates", // git and pip over TLS
  "curl", // the request of a newcomer, as written in the README
  "debootstrap", // the base image of the Docker test
  "docker.io", // the Docker test's engine
  "git", // pushes
  "iproute2", // boxes' network
  "iptables", // boxes' network
  "mount", // boxes
  "openssl", // peers that speak TLS
  "passwd", // system users
  "postgresql", // the run against Debian's server by DATABASE_URL
  "procps", // process titles as users see them
  "python3-pip", // Python apps
  "python3-venv", // Python apps
  "util-linux", // boxes
];

/** More at once than this and the end-to-end tests, each a whole Sluice, wait on each other. */
const CONCURRENCY = Math.min(availableParallelism(), 3);
/** A test file that hangs fails, and the others still run. */
const FILE_TIMEOUT_MS = 15 * 60_000;

const full = process.env.SLUICE_TEST_FULL === "1";
if (full) installPackages();
await setUpOrExit();
const biome = path.join(checkout, "node_modules", "@biomejs", "biome", "bin", "biome");
if (spawnSync(process.execPath, [biome, "check", "."], { cwd: checkout, stdio: "inherit" }).status !== 0) {
  console.error("sluice: Biome found something; `npm run format` mends what can be mended by itself.");
  process.exit(1);
}

const asked = process.argv.slice(2).map((name) => path.resolve(checkout, "dist", name));
const files = testFiles(path.join(checkout, "dist", "test")).filter(
  (file) => asked.length === 0 || asked.some((name) => file.startsWith(name.replace(/\.ts$/, ""))),
);
if (files.length === 0) {
  console.error(`sluice: there is no test at ${process.argv.slice(2).join(", ")}.`);
  process.exit(1);
}

// A person's own settings must neither reach the tests nor be changed by them.
const KEPT = new Set(["SLUICE_TEST_FULL", "SLUICE_PG_BIN", "SLUICE_UWS"]);
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      KEPT.has(name) || !(name.startsWith("SLUICE_") || name === "DATABASE_URL" || name === "NODE_ENV"),
  ),
);
const options = [
  `--test-concurrency=${CONCURRENCY}`,
  `--test-timeout=${FILE_TIMEOUT_MS}`,
  "--test-reporter=spec",
];
const tests = spawn(process.execPath, ["--test", ...options, ...files], {
  cwd: checkout,
  env,
  stdio: ["ignore", "pipe", "inherit"],
});
let tail = "";
tests.stdout.on("data", (chunk) => {
  process.stdout.write(chunk);
  tail = (tail + chunk).slice(-200_000);
});
tests.on("close", (code) => {
  const skipped = Number([...tail.matchAll(/^ℹ skipped (\d+)$/gm)].at(-1)?.[1] ?? 0);
  if (full && skipped > 0) {
    console.error(`sluice: ${skipped} tests were skipped, and in the full run none may be.`);
    process.exit(1);
  }
  process.exit(code ?? 1);
});

/** @returns {string[]} */
function testFiles(/** @type {string} */ folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return testFiles(file);
    return entry.name.endsWith(".test.js") ? [file] : [];
  });
}

function installPackages() {
  const missing = PACKAGES.filter((name) => {
    const { stdout } = spawnSync("dpkg-query", ["--status", name], { encoding: "utf8" });
    return !stdout?.includes("Status: install ok installed");
  });
  if (missing.length === 0) return;
  console.error(`sluice: installing ${missing.join(" ")}…`);
  const apt = (/** @type {string[]} */ ...args) =>
    spawnSync("apt-get", args, {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    }).status === 0;
  if (!apt("update", "-qq") || !apt("install", "-qq", "-y", "--no-install-recommends", ...missing)) {
    console.error(
      "sluice: the full test run needs these packages, as root on Debian: the reason stands above.",
    );
    process.exit(1);
  }
}
