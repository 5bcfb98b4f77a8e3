import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const CHECKOUT = fileURLToPath(new URL("../../..", import.meta.url));

const START_MS = 300_000;
const PORTS = ["EDGE", "EDGE_TLS", "API", "API_TLS", "RENDEZVOUS", "LOGPLEX", "LOGPLEX_HTTP"];

/** A Sluice of the bench's own: free ports, a home and a HOME below `folder`. */
export interface RunningSluice {
  /** From the start of the command to the ready line, in seconds. */
  readySeconds: number;
  edge: URL;
  api: URL;
  key: string;
  pid: number;
  env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

/** Runs what `npm start` runs in `checkout` and waits for its ready line. */
export async function startSluice(folder: string, checkout = CHECKOUT): Promise<RunningSluice> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...Object.fromEntries(PORTS.map((name) => [`SLUICE_${name}_PORT`, "0"])),
    HOME: path.join(folder, "user"),
    SLUICE_HOME: path.join(folder, "home"),
    SLUICE_DYNO_NET: `10.${210 + Math.floor(Math.random() * 40)}.0.0/16`,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "bench",
    GIT_AUTHOR_EMAIL: "bench@example.com",
    GIT_COMMITTER_NAME: "bench",
    GIT_COMMITTER_EMAIL: "bench@example.com",
  };
  mkdirSync(env.HOME!, { recursive: true });
  const began = performance.now();
  const child = spawn(process.execPath, [path.join(checkout, "bin/start.js"), "up"], {
    env,
    cwd: folder,
    // A session of its own: a Ctrl-C of the bench is told to it by `stop`.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let told = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    told = (told + text).slice(-4000);
  });
  const line = await readyLine(child, () => told);
  const readySeconds = (performance.now() - began) / 1000;
  const [, edge, api, key] = /^ready edge=(\S+) api=(\S+) tls=\S+ key=(\S+)/.exec(line) ?? [];
  if (!edge || !api || !key) throw new Error(`This is no ready line: ${line}`);
  return {
    readySeconds,
    edge: new URL(edge),
    api: new URL(api),
    key: readFileSync(key, "utf8").trim(),
    pid: child.pid!,
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("SLUICE_"))),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

function readyLine(child: ChildProcess, told: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => {
      child.kill("SIGTERM");
      reject(new Error(`Sluice was not ready within ${START_MS / 1000} s. ${told()}`));
    }, START_MS);
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (!text.includes("\n")) return;
      clearTimeout(timer);
      resolve(text.split("\n")[0]!);
    });
    child.once("exit", () => {
      clearTimeout(timer);
      reject(new Error(`Sluice ended before it was ready. ${told()}`));
    });
  });
}

/** Runs a program to its end; throws what it said when it fails. */
export async function run(
  command: string,
  args: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<string> {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const [status] = (await once(child, "close")) as [number | null];
  if (status !== 0) throw new Error(`${path.basename(command)} ${args.join(" ")} failed: ${out}${err}`);
  return out;
}

/** The `sluice` command of this checkout. */
export const sluice = (running: RunningSluice, args: string[], cwd: string): Promise<string> =>
  run(process.execPath, [path.join(CHECKOUT, "bin/sluice"), ...args], { cwd, env: running.env });

/**
 * Memory of each part in MB, as PSS (pages shared with others counted by their share), by process title, among
 * the descendants of the supervisor `pid`; what runs in dynos is left out.
 */
export function memoryByPart(pid: number): Map<string, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // Gone between two looks.
    }
  }
  const isOurs = (one: number): boolean => {
    for (let at: number | undefined = one; at && at > 1; at = parents.get(at)) if (at === pid) return true;
    return false;
  };
  const memory = new Map<string, number>();
  for (const one of parents.keys()) {
    if (!isOurs(one)) continue;
    try {
      const title = readFileSync(`/proc/${one}/cmdline`, "utf8").split("\0")[0]!;
      const part = /^sluice: (\w+)/.exec(title)?.[1] ?? (/postgres/.test(title) ? "store" : null);
      const pss = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, "utf8"))?.[1];
      if (part && pss) memory.set(part, (memory.get(part) ?? 0) + Number(pss) / 1024);
    } catch {
      // Gone, or not ours to read.
    }
  }
  return memory;
}
