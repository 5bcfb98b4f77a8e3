import { type Config, ConfigError, readConfig } from "./config/environment.ts";
import { type Layout, layoutOf } from "./config/layout.ts";
import type { Part, PartMessage, SupervisorMessage } from "./config/part.ts";

export type PartName = "edge" | "logplex" | "control" | "host";

/** A part that was left alone by its supervisor's death may take this long to put its things in order. */
const ABANDON_MS = 2000;

/** Loads the code of one part, and nothing else with it, and starts it; `worker` counts the edge's processes from 1. */
async function start(part: PartName, config: Config, layout: Layout, worker: number): Promise<Part> {
  switch (part) {
    case "edge":
      return (await import("./edge/edge.ts")).startEdge(config, layout, worker);
    case "logplex":
      return (await import("./logplex/logplex.ts")).startLogplex(config, layout);
    case "control":
      return (await import("./control/start.ts")).startControl(config, layout);
    case "host":
      return (await import("./host/host.ts")).startHost(config, layout);
  }
}

function layoutAt(config: Config): Layout {
  try {
    return layoutOf(config.home);
  } catch {
    throw new ConfigError(
      `The data directory ${config.home} is not there; make it or name another by SLUICE_HOME.`,
    );
  }
}

/** Which of the edge's processes this is, from 1; the other parts take no argument. */
function workerNumber(part: PartName, args: string[]): number {
  const [given, ...more] = args;
  if (part !== "edge" && args.length > 0) {
    throw new ConfigError(`\`sluice ${part}\` takes no arguments; its settings are SLUICE_* variables.`);
  }
  const number = given === undefined ? 1 : Number(given);
  if (more.length > 0 || !Number.isInteger(number) || number < 1) {
    throw new ConfigError("`sluice edge` takes the number of the worker, from 1, and nothing else.");
  }
  return number;
}

/** Runs one part as this process: `sluice edge 2`, `sluice control`. */
export async function runPart(part: PartName, args: string[]): Promise<void> {
  const title = part === "edge" ? `sluice: edge ${args[0] ?? 1}` : `sluice: ${part}`;
  await servePart(title, async () => {
    const worker = workerNumber(part, args);
    const config = readConfig(process.env);
    return start(part, config, layoutAt(config), worker);
  });
}

/**
 * Runs one part as this process, until it is stopped: by the supervisor's message when there is a
 * supervisor (signals are ignored then, so a Ctrl-C to the whole group is the supervisor's to handle), by
 * SIGINT or SIGTERM when the part was started alone. Never returns: the process exits.
 */
export async function servePart(title: string, start: () => Promise<Part>): Promise<void> {
  process.title = title;
  const supervised = process.send !== undefined;
  let part: Part | null = null;
  let stopping: Promise<void> | null = null;

  const stop = (now: boolean): void => {
    if (stopping && !now) return;
    stopping = (part?.stop(now) ?? Promise.resolve()).then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(`${title}: ${error instanceof Error ? error.stack : error}`);
        process.exit(1);
      },
    );
  };

  if (supervised) {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
    process.on("message", (message: SupervisorMessage) => {
      if (message.kind === "stop") stop(message.now ?? false);
    });
    process.on("disconnect", () => {
      if (stopping) return;
      setTimeout(() => process.exit(1), ABANDON_MS).unref();
      void (part?.abandon?.() ?? Promise.resolve()).finally(() => process.exit(1));
    });
  } else {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop(false));
  }

  try {
    part = await start();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!supervised) console.error(`${title}: ${message}`);
    // The channel is flushed before the process ends.
    else await new Promise<void>((sent) => tell({ kind: "failed", message }, sent));
    process.exit(1);
  }
  if (supervised) tell({ kind: "ready", ports: part.ports, notes: part.notes });
  else for (const note of part.notes) console.error(`${title}: ${note}`);
}

function tell(message: PartMessage, sent: () => void = () => {}): void {
  process.send?.(message, undefined, {}, sent);
}
