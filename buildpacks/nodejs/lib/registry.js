// registry.js versions PACKAGE RANGE     prints the newest version of PACKAGE in RANGE; status 3: the nearest one
// registry.js get PACKAGE VERSION FILE   downloads its archive, checked against the registry's integrity
// The registry's settings are npm's: npm_config_registry, npm_config_cafile, npm_config_//host/:_authToken.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const crypto = require("node:crypto");
const { execFileSync } = require("node:child_process");

const settings = {};
for (const [name, value] of Object.entries(process.env)) {
  const read = /^npm_config_(.+)$/i.exec(name);
  if (read && value) settings[read[1].toLowerCase().replaceAll("-", "_")] = value;
}
const registry = (settings.registry || askNpm()).replace(/\/*$/, "/");
const ca = settings.cafile && fs.existsSync(settings.cafile) ? fs.readFileSync(settings.cafile) : undefined;
const proxied = Boolean(settings.https_proxy || settings.proxy || process.env.https_proxy || process.env.HTTPS_PROXY);

// Outside Sluice, or where the operator's npm could not be asked, the npm of this machine knows.
function askNpm() {
  try {
    return execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    console.error("No npm registry is known: set npm_config_registry to its URL where Sluice is started.");
    process.exit(1);
  }
}

function authorization(url) {
  const host = url.href.replace(/^https?:/, "").toLowerCase();
  for (const [name, value] of Object.entries(settings)) {
    const read = /^(\/\/.+?):_(authtoken|auth)$/.exec(name);
    if (read && host.startsWith(read[1])) return read[2] === "auth" ? `Basic ${value}` : `Bearer ${value}`;
  }
  return null;
}

function get(address, headers, turns = 5) {
  const url = new URL(address);
  const token = authorization(url);
  if (proxied) {
    const args = ["-sSfL", "--max-time", "300", ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`])];
    if (settings.cafile) args.push("--cacert", settings.cafile);
    if (token) args.push("-H", `Authorization: ${token}`);
    const proxy = settings.https_proxy || settings.proxy;
    if (proxy) args.push("--proxy", proxy);
    return Promise.resolve(execFileSync("curl", [...args, "--", url.href], { maxBuffer: 1024 * 1024 * 1024 }));
  }
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "http:" ? http : https).get(
      url,
      { headers: { ...headers, "user-agent": "sluice-buildpack", ...(token ? { authorization: token } : {}) }, ca, timeout: 60_000, rejectUnauthorized: settings.strict_ssl !== "false" },
      (answer) => {
        if (answer.statusCode >= 300 && answer.statusCode < 400 && answer.headers.location && turns > 0) {
          answer.resume();
          return resolve(get(new URL(answer.headers.location, url).href, headers, turns - 1));
        }
        if (answer.statusCode !== 200) {
          answer.resume();
          return reject(new Error(`${url.host} answered ${answer.statusCode} for ${url.pathname}`));
        }
        const chunks = [];
        answer.on("data", (chunk) => chunks.push(chunk));
        answer.on("end", () => resolve(Buffer.concat(chunks)));
        answer.on("error", reject);
      },
    );
    request.on("timeout", () => request.destroy(new Error(`${url.host} does not answer`)));
    request.on("error", reject);
  });
}

// A name server or a connection that fails once is asked again, after a breath.
const PASSING = /^(EAI_AGAIN|ECONNRESET|ETIMEDOUT|EPIPE|ENETUNREACH)$/;
async function patiently(address, headers) {
  for (let turn = 1; ; turn++) {
    try {
      return await get(address, headers);
    } catch (error) {
      if (turn === 3 || !PASSING.test(error.code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * turn));
    }
  }
}

const documentOf = async (name) =>
  JSON.parse(await patiently(registry + name.replace("/", "%2f"), { accept: "application/vnd.npm.install-v1+json" }));

// Ranges, as far as engines fields use them: node-semver's grammar without pre-releases.
const parse = (text) => text.split(".").map(Number);
const compare = (a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
function comparators(part) {
  const wild = (value) => value === undefined || /^[xX*]$/.test(value);
  const list = [];
  const tidy = part.trim().replace(/(>=|<=|>|<|=|~>|~|\^)\s+/g, "$1").replace(/\s+-\s+/g, " - ");
  const hyphen = /^v?([\d.xX*]+) - v?([\d.xX*]+)$/.exec(tidy);
  const words = hyphen ? [`>=${hyphen[1]}`, `<=${hyphen[2]}`] : tidy.split(/[\s,]+/).filter(Boolean);
  for (const word of words) {
    const read = /^(>=|<=|>|<|=|~>|~|\^)?v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+].*)?$/.exec(word);
    if (!read) throw new Error(`"${part}" is not a version range`);
    const [, operator = "", first, second, third] = read;
    if (wild(first)) continue;
    const low = [Number(first), wild(second) ? 0 : Number(second), wild(third) ? 0 : Number(third)];
    const above = wild(second) ? [low[0] + 1, 0, 0] : wild(third) ? [low[0], low[1] + 1, 0] : [low[0], low[1], low[2] + 1];
    if (operator === ">=") list.push([">=", low]);
    else if (operator === ">") list.push([">=", above]);
    else if (operator === "<") list.push(["<", low]);
    else if (operator === "<=") list.push(["<", above]);
    else if (operator === "^") list.push([">=", low], ["<", low[0] > 0 || wild(second) ? [low[0] + 1, 0, 0] : low[1] > 0 || wild(third) ? [0, low[1] + 1, 0] : above]);
    else if (operator === "~" || operator === "~>") list.push([">=", low], ["<", wild(second) ? [low[0] + 1, 0, 0] : [low[0], low[1] + 1, 0]]);
    else list.push([">=", low], ["<", above]);
  }
  return list;
}
const fits = (version, list) => list.every(([operator, bound]) => (operator === ">=" ? compare(version, bound) >= 0 : compare(version, bound) < 0));

function choose(versions, range) {
  const known = versions.filter((text) => /^\d+\.\d+\.\d+$/.test(text)).map(parse).sort(compare);
  const show = (version) => version.join(".");
  let sets;
  try {
    const text = /^lts/i.test(range) ? ">=0" : range.replace(/^(latest|current|stable|node)$/i, "*");
    sets = text.split("||").map(comparators);
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
  const fitting = known.filter((version) => sets.some((list) => fits(version, list)));
  if (fitting.length) return { version: show(fitting.at(-1)), exact: true };
  // The nearest that is to be had: the oldest above the first bound, else the newest of all.
  const low = sets.flat().find(([operator]) => operator === ">=")?.[1] ?? [0, 0, 0];
  return { version: show(known.find((version) => compare(version, low) >= 0) ?? known.at(-1)), exact: false };
}

async function main() {
  const [job, name, version, file] = process.argv.slice(2);
  const known = await documentOf(name);
  if (job === "versions") {
    const all = Object.keys(known.versions);
    // Without a wish: the newest long-term release line (an even major) whose package is to be had.
    const range = version;
    if (!range && name.startsWith("node-linux")) {
      const major = Math.max(...all.map((text) => Number(text.split(".")[0])).filter((number) => number % 2 === 0 && number <= 24));
      console.log(choose(all, `${major}.x`).version);
      return;
    }
    const chosen = choose(all, range || "*");
    console.log(chosen.version);
    if (!chosen.exact) process.exitCode = 3;
    return;
  }
  const { dist } = known.versions[version] ?? {};
  if (!dist) throw new Error(`${name}@${version} is not in the registry`);
  // Registries behind a mirror may name an address of the origin's; the path is the same.
  const archive = await patiently(dist.tarball, {}).catch(() => patiently(`${registry}${name}/-/${name.split("/").pop()}-${version}.tgz`, {}));
  const [algorithm, wanted] = dist.integrity ? dist.integrity.split(" ")[0].split(/-(.*)/s) : ["sha1", Buffer.from(dist.shasum, "hex").toString("base64")];
  const got = crypto.createHash(algorithm).update(archive).digest("base64");
  if (got !== wanted) throw new Error(`${name}@${version} came damaged: its ${algorithm} is not the registry's`);
  fs.writeFileSync(file, archive);
}
main().catch((error) => {
  console.error(`${error.message || error.code || error}`);
  process.exit(1);
});
