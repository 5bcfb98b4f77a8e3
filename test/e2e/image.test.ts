import assert from "node:assert/strict";
import { execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, realpathSync, symlinkSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { checkout } from "../../src/supervisor/checkout.ts";
import { atEnd } from "../at-end.ts";
import { isRoot, ownFolder, run, until } from "./sluice.ts";

/*
 * The image is built from a base that is made here by debootstrap, with an engine of this test's own, so that it
 * needs Debian's and npm's packages and no registry of images.
 */

const full = process.env.SLUICE_TEST_FULL === "1";
const SKIP = full ? false : "only in the full run (SLUICE_TEST_FULL=1): it makes a whole Debian";

/** Debian's packages in the base, so that `docker build` fetches none. */
const BASE_PACKAGES =
  "ca-certificates,curl,git,iproute2,iptables,mount,openssl,passwd,procps,python3,python3-venv,tini,unzip,util-linux,xz-utils";
const BUNDLE = "/etc/ssl/certs/ca-certificates.crt";

test("the image is built, runs the whole of Sluice, and has a stack for dynos", {
  skip: SKIP,
  timeout: 14 * 60_000,
}, async (t) => {
  assert.ok(isRoot, "the full run needs root");
  const folder = ownFolder(t);
  const socket = `unix://${folder}/docker.sock`;
  const env = { ...process.env, DOCKER_HOST: socket, DOCKER_BUILDKIT: "0", HOME: folder };
  const docker = async (...args: string[]): Promise<string> => {
    const ran = await run("docker", args, { cwd: folder, env });
    assert.equal(
      ran.status,
      0,
      `docker ${args.join(" ")}: ${ran.stdout.slice(-4000)}${ran.stderr.slice(-4000)}`,
    );
    return ran.stdout;
  };

  const engine = spawn(
    "dockerd",
    [
      ...["--data-root", `${folder}/data`, "--exec-root", `${folder}/exec`, "--pidfile", `${folder}/pid`],
      ...["--host", socket, "--iptables=false", "--ip6tables=false", "--bridge=none", "--log-level=error"],
    ],
    { stdio: "ignore" },
  );
  atEnd(t, async () => {
    engine.kill("SIGTERM");
    if (engine.exitCode === null) await new Promise((exit) => engine.once("exit", exit));
    // Network namespaces and layers may still be mounted below the engine's folders.
    execFileSync("sh", [
      "-c",
      `grep -o ' ${folder}/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount -l || true`,
    ]);
  });
  await until(() => existsSync(`${folder}/docker.sock`), "the engine");

  await importBase(folder, env);
  const source = path.join(folder, "source");
  mkdirSync(source);
  for (const name of SOURCES) {
    if (existsSync(path.join(checkout, name)))
      cpSync(path.join(checkout, name), path.join(source, name), { recursive: true });
  }
  await docker("build", "--network=host", "--build-arg", "BASE=sluice-base", "-t", "sluice", source);
  await docker(
    "build",
    "--network=host",
    "--build-arg",
    "BASE=sluice-base",
    "--target",
    "stack",
    "-t",
    "sluice-stack",
    source,
  );

  await t.test("a container runs `sluice up` and is healthy", async () => {
    const ports = ["EDGE", "EDGE_TLS", "API_TLS", "RENDEZVOUS", "LOGPLEX", "LOGPLEX_HTTP"];
    const options = ports.flatMap((name) => ["-e", `SLUICE_${name}_PORT=0`]);
    // What boxes need and no more: not every machine's root may grant --privileged.
    const rights = ["--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--security-opt=seccomp=unconfined"];
    await docker("run", "-d", "--network=none", "--name", "whole", ...rights, ...options, "sluice");
    atEnd(t, () => docker("rm", "-f", "whole"));
    const ask = [
      "exec",
      "whole",
      "curl",
      "-s",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      "http://127.0.0.1:5000/health",
    ];
    await until(
      async () => (await run("docker", ask, { cwd: folder, env })).stdout === "200",
      "the container's health",
      60_000,
    );
    const logs = await run("docker", ["logs", "whole"], { cwd: folder, env });
    assert.match(logs.stdout, /^ready edge=http:\/\/127\.0\.0\.1:\d+ api=http:\/\/127\.0\.0\.1:5000 tls=/m);
    await docker("stop", "-t", "40", "whole");
    assert.equal((await docker("inspect", "-f", "{{.State.ExitCode}}", "whole")).trim(), "0");
  });

  await t.test("the stack has what dynos find at Heroku, and no Sluice", async () => {
    const said = await docker(
      "run",
      "--rm",
      "--network=none",
      "sluice-stack",
      "sh",
      "-c",
      "bash --version | head -1; python3 --version; ls /opt",
    );
    assert.match(said, /GNU bash[\s\S]*Python 3/);
    assert.doesNotMatch(said, /sluice/);
  });
});

/** What of the checkout goes into the image's context. */
const SOURCES = [
  ...["Dockerfile", ".dockerignore", ".npmrc", "package.json", "package-lock.json", "tsconfig.json"],
  ...["bin", "buildpacks", "src", "examples"],
];

/** Debian 13 with Node.js out of npm's package, imported as `sluice-base`. */
async function importBase(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const tree = path.join(folder, "tree");
  const options: SpawnOptions & { cwd: string; env: NodeJS.ProcessEnv } = { cwd: folder, env };
  const made = await run(
    "debootstrap",
    ["--variant=minbase", `--include=${BASE_PACKAGES}`, "trixie", tree],
    options,
  );
  assert.equal(made.status, 0, made.stdout.slice(-2000) + made.stderr);
  // The machine's own authorities, so that npm works in the build as it does here.
  if (existsSync(BUNDLE)) cpSync(BUNDLE, path.join(tree, BUNDLE), { dereference: true });

  const name = `node-linux-${process.arch === "arm64" ? "arm64" : "x64"}`;
  const packed = await run(
    "npm",
    ["install", "--no-save", "--prefix", path.join(folder, "node"), `${name}@24`],
    options,
  );
  assert.equal(packed.status, 0, packed.stderr);
  cpSync(
    path.join(folder, "node", "node_modules", name, "bin", "node"),
    path.join(tree, "usr/local/bin/node"),
  );
  const npm = path.dirname(
    path.dirname(realpathSync(execFileSync("which", ["npm"], { encoding: "utf8" }).trim())),
  );
  cpSync(npm, path.join(tree, "usr/local/lib/node_modules/npm"), { recursive: true, dereference: true });
  symlinkSync("../lib/node_modules/npm/bin/npm-cli.js", path.join(tree, "usr/local/bin/npm"));
  const change = `ENV NODE_EXTRA_CA_CERTS=${BUNDLE}`;
  const imported = await run(
    "sh",
    ["-c", `tar -C tree -c . | docker import --change '${change}' - sluice-base`],
    options,
  );
  assert.equal(imported.status, 0, imported.stderr);
}
