import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { startBareHook } from "./deploy/bare-hook.ts";
import { firstAnswer, Load, type LoadResult, type Target } from "./deploy/load.ts";
import { CHECKOUT, memoryByPart, type RunningSluice, run, sluice, startSluice } from "./deploy/sluice.ts";
import { median, table } from "./table.ts";

/*
 * `npm run bench -- deploy`: the seconds of a deploy and of a start on this machine, beside a bare git hook.
 * `--install` also measures `npm start` in a fresh clone, packages and compiler included.
 */

/** Pushes that are measured after the first one. */
const PUSHES = 5;
const PER_SECOND = 50;
/** Requests go on this long after the new version answers: the old dynos are stopped in that time. */
const AFTERWARDS_MS = 3000;
const PUSH_MS = 120_000;
const RUNS = 9;
/** The whole bench ends by then, whatever hangs. */
const BOUND_MS = 10 * 60_000;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** An app without dependencies that answers its version. */
async function makeRepository(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{"name": "bench", "version": "1.0.0"}\n');
  writeFileSync(path.join(folder, "Procfile"), "web: node index.js\n");
  await run("git", ["init", "-q", "-b", "main"], { cwd: folder, env });
}

async function commit(folder: string, env: NodeJS.ProcessEnv, version: string): Promise<void> {
  writeFileSync(
    path.join(folder, "index.js"),
    `const server = require("http").createServer((_, response) => response.end(${JSON.stringify(version)}));
server.listen(process.env.PORT);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
`,
  );
  await run("git", ["add", "-A"], { cwd: folder, env });
  await run("git", ["commit", "-q", "-m", version], { cwd: folder, env });
}

interface Pushes {
  first: number;
  later: number[];
  load: LoadResult;
}

/** Pushes again and again to `remote`, with requests under way from the second push on. */
async function measurePushes(
  repository: string,
  env: NodeJS.ProcessEnv,
  remote: string,
  target: Target,
): Promise<Pushes> {
  const push = async (version: string): Promise<number> => {
    await commit(repository, env, version);
    const began = performance.now();
    const pushed = run("git", ["push", "-q", remote, "main"], { cwd: repository, env });
    const [at] = await Promise.all([firstAnswer(target, version, PUSH_MS), pushed]);
    return at - began;
  };
  const first = await push(`${remote} 0`);
  const later: number[] = [];
  const load = new Load(target, PER_SECOND);
  for (let number = 1; number <= PUSHES; number++) {
    later.push(await push(`${remote} ${number}`));
    await pause(AFTERWARDS_MS);
  }
  return { first, later, load: await load.stop() };
}

/** A command that prints the time, in microseconds, at which it runs. */
const CLOCK = "date +%s%N";

/** Milliseconds from the start of a shell by hand to the command's own clock. */
function bareStart(): number {
  const began = performance.timeOrigin + performance.now();
  const { stdout } = spawnSync("sh", ["-c", CLOCK], { encoding: "utf8" });
  return Number(stdout.trim()) / 1e6 - began;
}

/** The same for a dyno: from the host's `Starting process` line in the log to the command's own clock. */
async function dynoStarts(running: RunningSluice, cwd: string): Promise<number[]> {
  const times: number[] = [];
  for (let number = 0; number < RUNS; number++) {
    const name = /as (run\.\d+)/.exec(await sluice(running, ["run", "--detached", CLOCK], cwd))?.[1];
    if (!name) throw new Error("A one-off dyno was not named.");
    for (let tries = 0; ; tries++) {
      const log = await sluice(running, ["logs", "-n", "1500", "--ps", name], cwd);
      const start = /^(\S+) heroku\[run\.\d+\]: Starting process/m.exec(log)?.[1];
      const clock = /app\[run\.\d+\]: (\d{19})/.exec(log)?.[1];
      if (start && clock) {
        // Date keeps milliseconds; the log has microseconds.
        const micros = Number(/\.(\d{3})(\d{3})/.exec(start)?.[2] ?? 0) / 1000;
        times.push(Number(clock) / 1e6 - (Date.parse(start) + micros));
        break;
      }
      if (tries > 100) throw new Error(`${name} printed nothing: ${log}`);
      await pause(50);
    }
  }
  return times;
}

/** Seconds of `npm start` in a fresh clone: packages installed, compiled, first start. */
async function freshClone(folder: string): Promise<number> {
  const clone = path.join(folder, "clone");
  execFileSync("git", ["clone", "-q", CHECKOUT, clone]);
  const own = path.join(folder, "clone-home");
  mkdirSync(own);
  const running = await startSluice(own, clone);
  await running.stop();
  return running.readySeconds;
}

const folder = mkdtempSync("/tmp/sluice-bench-");
let stop: () => Promise<void> = async () => {};
const bound = setTimeout(() => {
  console.error(`The bench took more than ${BOUND_MS / 60_000} minutes and ends here.`);
  void stop().finally(() => process.exit(1));
}, BOUND_MS);
bound.unref();
process.once("SIGINT", () => void stop().finally(() => process.exit(130)));

try {
  const started: string[][] = [["npm start to the ready line", "seconds"]];
  if (process.argv.includes("--install")) {
    started.push(["a fresh clone, packages installed and compiled", (await freshClone(folder)).toFixed(2)]);
  }
  let running = await startSluice(folder);
  stop = () => running.stop();
  started.push(["a new data directory", running.readySeconds.toFixed(2)]);
  await running.stop();
  running = await startSluice(folder);
  started.push(["again, on the same", running.readySeconds.toFixed(2)]);

  const repository = path.join(folder, "app");
  await makeRepository(repository, running.env);
  await sluice(running, ["create", "bench"], repository);
  const host = `bench.localhost:${running.edge.port}`;
  const target = { host: running.edge.hostname, port: Number(running.edge.port), name: host };
  const ours = await measurePushes(repository, running.env, "sluice", target);
  const overhead = await dynoStarts(running, repository);
  const bare = Array.from({ length: RUNS }, bareStart);
  await pause(2000);
  const memory = memoryByPart(running.pid);
  await running.stop();

  const peerRepository = path.join(folder, "peer-app");
  cpSync(repository, peerRepository, { recursive: true });
  const hook = await startBareHook(path.join(folder, "peer"), running.env);
  stop = () => hook.stop();
  await run("git", ["remote", "add", "bare", hook.url], { cwd: peerRepository, env: running.env });
  const peer = await measurePushes(peerRepository, running.env, "bare", {
    host: "127.0.0.1",
    port: hook.port,
    name: "bench",
  });
  await hook.stop();

  const row = (name: string, pushes: Pushes): string[] => [
    name,
    seconds(pushes.first),
    seconds(median(pushes.later)),
    seconds(Math.max(...pushes.later)),
    `${pushes.load.lost.length} of ${pushes.load.sent}`,
  ];
  console.log(
    `${availableParallelism()} cores, Node ${process.version}; ${PUSHES} later pushes, ${PER_SECOND} requests/s\n`,
  );
  console.log(
    table([
      ["git push to the first 200", "first", "later (median)", "(worst)", "requests lost"],
      row("Sluice", ours),
      row("bare git hook: no build, slug, release, box", peer),
    ]),
  );
  for (const why of new Set([...ours.load.lost, ...peer.load.lost])) console.log(`  lost: ${why}`);
  console.log(`
Dyno start: ${median(overhead).toFixed(1)} ms from the host's start to the command's first instruction (worst ${Math.max(
    ...overhead,
  ).toFixed(1)} ms);
a bare \`sh -c\`: ${median(bare).toFixed(1)} ms; overhead: ${(median(overhead) - median(bare)).toFixed(1)} ms
`);
  console.log(
    table([
      ["Memory at rest, one app up", "PSS"],
      ...[...memory].map(([part, mb]) => [part, `${mb.toFixed(1)} MB`]),
      ["all", `${[...memory.values()].reduce((sum, mb) => sum + mb, 0).toFixed(1)} MB`],
    ]),
  );
  console.log(`\n${table(started)}`);
} finally {
  clearTimeout(bound);
  await stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
