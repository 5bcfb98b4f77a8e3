import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { type Pushed, Yard } from "../builds/yard.ts";
import { BareStack } from "./bare-stack.ts";
import { registryReason, registrySettings } from "./registry.ts";
import { type Built, dropSlug, newestSlug, replaceFiles } from "./slugs.ts";

const full = process.env.SLUICE_TEST_FULL === "1";
const missing = process.getuid?.() !== 0 ? "boxes with folders of their own need root" : registryReason();

const UID = 290_001;
/** The package that is there at run time, and the one that is there during the build alone; both without others. */
const MS = { ms: "2.1.3" };
const DEV = { isarray: "2.0.5" };
const manifest = (more: Record<string, unknown> = {}): string =>
  JSON.stringify({ name: "small", version: "1.0.0", dependencies: MS, ...more });
const LOCK = JSON.stringify({
  name: "small",
  version: "1.0.0",
  lockfileVersion: 3,
  requires: true,
  packages: {
    "": { name: "small", version: "1.0.0", dependencies: MS },
    "node_modules/ms": { version: "2.1.3" },
  },
});
const YARN_LOCK =
  '# yarn lockfile v1\n\n\nisarray@2.0.5:\n  version "2.0.5"\n\nms@2.1.3:\n  version "2.1.3"\n';
const PNPM_LOCK = `lockfileVersion: '9.0'

settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false

importers:

  .:
    dependencies:
      ms:
        specifier: 2.1.3
        version: 2.1.3

packages:

  ms@2.1.3:
    resolution: {integrity: sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA==}

snapshots:

  ms@2.1.3: {}
`;
const SHOW = 'console.log(require("ms")("2 days"), process.version, process.execPath);\n';

describe("the Node.js buildpack with a real registry", { skip: missing && !full ? missing : false }, () => {
  let yard: Yard;
  let stack: BareStack;
  let repository: string;
  let privatePort: number;
  let packages: http.Server;
  const asked: { url: string; token: string | undefined }[] = [];

  before(async () => {
    const probe = net.createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    privatePort = (probe.address() as net.AddressInfo).port;
    probe.close();
    Object.assign(process.env, registrySettings());
    yard = await Yard.open({ SLUICE_DYNO_ALLOW: String(privatePort) });
    const home = path.join(yard.home, "bare");
    mkdirSync(home, { mode: 0o711 });
    stack = await BareStack.open(home);
    repository = yard.repository({});
    await yard.app("node");
  });
  after(async () => {
    packages?.close();
    await stack?.close();
    await yard?.close();
  });

  /** Pushes exactly these files. */
  const push = async (app: string, files: Record<string, string>): Promise<Pushed> => {
    replaceFiles(yard, repository, files);
    return yard.push(repository, app, "+main:main");
  };
  const deploy = async (app: string, files: Record<string, string>): Promise<Built & { output: string }> => {
    const { ok, output } = await push(app, files);
    assert.ok(ok, output);
    return { ...(await newestSlug(yard, app, UID)), output };
  };
  const run = (built: Built, command: string, env: Record<string, string> = {}) =>
    stack.run(built.lower, UID, command, env);

  it("installs by the lockfile, and the slug runs where there is no Node", async () => {
    const built = await deploy("node", {
      "package.json": manifest(),
      "package-lock.json": LOCK,
      "index.js": SHOW,
      Procfile:
        "# what runs\nworker: node index.js\nweb: node --max-old-space-size=100 --expose-gc index.js # the app",
    });
    for (const line of [
      "-----> Node.js app detected",
      "       NPM_CONFIG_LOGLEVEL=error",
      "       NODE_VERBOSE=false",
      "       NODE_ENV=production",
      "       NODE_MODULES_CACHE=true",
      "       Installing node modules (package.json + package-lock)",
      "       - npm cache",
      "-----> Build succeeded!",
      "       Procfile declares types     -> web, worker",
    ].map((text) => (text.includes("Procfile") ? text.replace("     ->", " ->") : text)))
      assert.ok(built.output.includes(`${line}\n`), `${line}\n${built.output}`);
    assert.doesNotMatch(built.output, /There is no lockfile/);
    assert.deepEqual(built.processTypes, {
      web: "node --max-old-space-size=100 --expose-gc index.js # the app",
      worker: "node index.js",
    });
    // The stack itself holds no runtime.
    assert.equal((await stack.run(null, UID, "node -v || python3 -V || perl -v")).status, 127);
    const ran = await run(built, built.processTypes.web!);
    assert.equal(ran.status, 0, ran.output);
    assert.match(ran.output, /^172800000 v24\.\d+\.\d+ \/app\/\.heroku\/node\/bin\/node\n$/);
    const settings = await run(built, 'echo "$NODE_ENV $WEB_CONCURRENCY $NODE_HOME"');
    assert.equal(settings.output, "production 1 /app/.heroku/node\n");
    const own = await run(built, 'echo "$NODE_ENV $WEB_CONCURRENCY"', {
      WEB_CONCURRENCY: "3",
      NODE_ENV: "test",
    });
    assert.equal(own.output, "test 3\n");
    dropSlug(built);
  });

  it("takes downloads of the build before from its cache", async () => {
    await yard.api("PATCH", "/apps/node/config-vars", { NPM_CONFIG_OFFLINE: "true" });
    const { output } = await deploy("node", { "package.json": manifest(), "package-lock.json": LOCK });
    assert.match(output, /-----> Restoring cache\n {7}- npm cache\n/);
    await yard.api("PATCH", "/apps/node/config-vars", { NPM_CONFIG_OFFLINE: null });
  });

  it("says so when package.json and the lockfile disagree", async () => {
    const { ok, output } = await push("node", {
      "package.json": manifest({ dependencies: { ms: "2.1.2" }, engines: { node: "the best" } }),
      "package-lock.json": LOCK,
    });
    assert.ok(!ok);
    assert.match(
      output,
      /engines\.node in package\.json, "the best", is not a version range; using the default\./,
    );
    assert.match(output, /package\.json and package-lock\.json disagree/);
    assert.match(output, /Run npm install, commit package-lock\.json, and push again\./);
    assert.match(output, / ! {5}Push rejected, failed to compile Node\.js app\.\n\n ! {5}Push failed\n/);
  });

  it("runs the app's scripts in order, with devDependencies until the build is done", async () => {
    const there = (name: string): string =>
      `node -e "const has = (n) => require('fs').existsSync('node_modules/' + n); console.log('${name}', has('ms'), has('isarray'), process.env.SEEN)"`;
    const scripts = {
      start: "node index.js",
      "heroku-prebuild": there("prebuild"),
      "heroku-postbuild": there("postbuild"),
      "heroku-cleanup": there("cleanup"),
      build: there("build"),
    };
    await yard.api("PATCH", "/apps/node/config-vars", { SEEN: "by scripts" });
    const files = { "package.json": manifest({ devDependencies: DEV, scripts }), "index.js": SHOW };
    const first = await deploy("node", files);
    assert.match(first.output, / ! {5}There is no lockfile/);
    const lines = (output: string): string[] =>
      output
        .split("\n")
        .filter((line) => /^ +\w+ (true|false) (true|false) /.test(line))
        .map((line) => line.trim());
    assert.deepEqual(lines(first.output), [
      "prebuild false false by scripts",
      "postbuild true true by scripts",
      "cleanup true false by scripts",
    ]);
    assert.match(
      first.output,
      /Procfile declares types {5}-> \(none\)\n {7}Default types for buildpack -> web\n/,
    );
    assert.deepEqual(first.processTypes, { web: "npm start" });
    const ran = await run(first, first.processTypes.web!);
    assert.equal(ran.status, 0, ran.output);
    assert.match(ran.output, /v24\.\d+\.\d+ \/app\/\.heroku\/node/);
    dropSlug(first);

    // Without a lockfile node_modules itself is kept; with the devDependencies, since those are needed again.
    const second = await deploy("node", files);
    assert.match(second.output, /-----> Restoring cache\n {7}- node_modules\n/);
    assert.equal(lines(second.output)[0], "prebuild true true by scripts");
    dropSlug(second);

    const { "heroku-postbuild": _, ...others } = scripts;
    const other = await deploy("node", {
      ...files,
      "package.json": manifest({ devDependencies: DEV, scripts: others, engines: { node: "22.x" } }),
    });
    assert.match(other.output, /Cached directories were not restored due to a change in version/);
    assert.equal(lines(other.output)[0], "prebuild false false by scripts");
    assert.equal(lines(other.output)[1], "build true true by scripts");
    assert.match((await run(other, "node -v")).output, /^v22\./);
    dropSlug(other);
  });

  it("uses yarn and pnpm by lockfile and by packageManager", async () => {
    const node = { node: ">=22 <23" };
    const yarn = await deploy("node", {
      "package.json": manifest({ devDependencies: DEV, engines: node }),
      "yarn.lock": YARN_LOCK,
      "index.js": SHOW,
      Procfile: "web: yarn --version && node index.js && ls node_modules",
    });
    const withYarn = await run(yarn, yarn.processTypes.web!);
    assert.match(withYarn.output, /^1\.22\.\d+\n.* v22\..*\nms\n$/, `${withYarn.output}${yarn.output}`);
    dropSlug(yarn);

    const stale = await push("node", {
      "package.json": manifest({ dependencies: { ms: "2.1.2" }, engines: node }),
      "yarn.lock": YARN_LOCK,
    });
    assert.ok(!stale.ok);
    assert.match(stale.output, /package\.json and yarn\.lock disagree/);

    const pnpm = await deploy("node", {
      "package.json": manifest({ engines: node }),
      "pnpm-lock.yaml": PNPM_LOCK,
      "index.js": SHOW,
      Procfile: "web: node index.js",
    });
    assert.match(pnpm.output, /Running 'pnpm install' with pnpm-lock\.yaml/);
    assert.match((await run(pnpm, "node index.js")).output, / v22\./);
    dropSlug(pnpm);

    const named = await deploy("node", {
      "package.json": manifest({
        engines: node,
        packageManager: "yarn@1.22.19+sha1.0000000000000000000000000000000000000000",
      }),
    });
    assert.match(named.output, /Downloading and installing yarn \(1\.22\.19\)/);
    dropSlug(named);

    const two = await push("node", {
      "package.json": manifest(),
      "yarn.lock": "",
      "package-lock.json": LOCK,
    });
    assert.ok(!two.ok);
    assert.match(two.output, /Two different lockfiles found: package-lock\.json and yarn\.lock/);
  });

  for (const [engine, version] of [
    ["20.11.1", /^v20\.11\.1\n/],
    ["7.x", /^v7\./],
    ["4.0.0", /^v4\./],
    ["0.10.x", /^v0\.10\./],
  ] as const) {
    it(`takes Node ${engine}, or the nearest that there is`, async () => {
      const built = await deploy("node", {
        "package.json": manifest({ engines: { node: engine } }),
        "index.js": SHOW,
      });
      const ran = await run(built, "node -v && node index.js");
      assert.match(ran.output, version, built.output);
      assert.equal(ran.status, 0, ran.output);
      if (!engine.includes("20")) assert.match(built.output, /no longer maintained/);
      if (engine === "4.0.0")
        assert.match(
          built.output,
          / ! {5}Node 4\.0\.0 is not to be had for this stack; using the nearest, 4\./,
        );
      dropSlug(built);
    });
  }

  it("takes the nearest of a version that there never was", async () => {
    const never = await deploy("node", { "package.json": manifest({ engines: { node: "13.99.x" } }) });
    assert.match(never.output, / ! {5}Node 13\.99\.x is not to be had; using the nearest, 1[34]\./);
    dropSlug(never);
  });

  it("reads the app's .npmrc: a registry of its own for a scope, with a token from a config var", async () => {
    const gateway = yard.host!.boxes.network?.gateway;
    assert.ok(gateway, "boxes have no network of their own");
    const origin = `http://machine.sluice:${privatePort}`;
    const archive = packedModule();
    packages = http.createServer((request, response) => {
      asked.push({ url: request.url ?? "", token: request.headers.authorization });
      if (request.headers.authorization !== "Bearer hush") return void response.writeHead(401).end("{}");
      if (request.url?.endsWith(".tgz")) return void response.end(archive);
      const dist = { tarball: `${origin}/hidden-1.0.0.tgz` };
      response.end(
        JSON.stringify({
          name: "@acme/hidden",
          "dist-tags": { latest: "1.0.0" },
          versions: { "1.0.0": { name: "@acme/hidden", version: "1.0.0", dist } },
        }),
      );
    });
    packages.listen(privatePort, gateway);
    await once(packages, "listening");
    await yard.api("PATCH", "/apps/node/config-vars", { ACME_TOKEN: "hush" });
    const built = await deploy("node", {
      "package.json": manifest({ dependencies: { "@acme/hidden": "1.0.0" } }),
      ".npmrc": `@acme:registry=${origin}/\n//machine.sluice:${privatePort}/:_authToken=\${ACME_TOKEN}\n`,
      "index.js": 'console.log(require("@acme/hidden"));',
    });
    assert.equal((await run(built, "node index.js")).output, "found\n");
    assert.ok(asked.length >= 2 && asked.every(({ token }) => token === "Bearer hush"));
    assert.ok(!built.output.includes("hush"));
    dropSlug(built);
  });
});

/** A package's archive: one folder with a manifest and a module. */
function packedModule(): Buffer {
  const folder = mkdtempSync(path.join(os.tmpdir(), "sluice-module-"));
  mkdirSync(path.join(folder, "package"));
  writeFileSync(path.join(folder, "package/package.json"), '{"name":"@acme/hidden","version":"1.0.0"}');
  writeFileSync(path.join(folder, "package/index.js"), 'module.exports = "found";');
  const archive = execFileSync("tar", ["-czf", "-", "-C", folder, "package"]);
  rmSync(folder, { recursive: true });
  return archive;
}
