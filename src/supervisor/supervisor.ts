import path from "node:path";
import type { Config } from "../config/environment.ts";
import { EDGE_NODE_OPTIONS } from "../config/node-options.ts";
import { PartProcess } from "./part-process.ts";
import type { Postgres } from "./postgres.ts";

/*
 * Stopping takes at most 40 s in all. Dynos have 30 s between SIGTERM and SIGKILL; the edges finish what they
 * have in flight beside that.
 */
const HOST_STOP_MS = 33_000;
const EDGE_STOP_MS = 32_000;
const CONTROL_STOP_MS = 2_000;
const LOGPLEX_STOP_MS = 1_500;
/** After a second Ctrl-C. */
const NOW_MS = 1_500;

/** The settings that only control may know. */
const CONTROL_ONLY = ["DATABASE_URL", "SLUICE_API_KEY", "SLUICE_SECRET_KEY"];

/** Store and parts of one machine: started, kept alive, and stopped in order. */
export class Supervisor {
  #postgres: Postgres | null;
  #control: PartProcess;
  #logplex: PartProcess;
  #host: PartProcess;
  #edges: PartProcess[];
  #stopping: Promise<void> | null = null;

  /**
   * @param code folder of the compiled checkout as the parts' users reach it.
   * @param env the parts' environment, every setting final.
   */
  constructor(
    config: Config,
    postgres: Postgres | null,
    code: string,
    env: NodeJS.ProcessEnv,
    say: (line: string) => void,
    onNotes: (notes: string[]) => void,
  ) {
    const main = path.join(code, "dist", "src", "main.js");
    const plain = { ...env };
    for (const name of CONTROL_ONLY) delete plain[name];
    const part = (name: string, args: string[], own = plain, nodeOptions?: readonly string[]): PartProcess =>
      new PartProcess({ name, args, main, env: own, nodeOptions }, say, onNotes);
    this.#postgres = postgres;
    this.#control = part("control", ["control"], env);
    this.#logplex = part("logplex", ["logplex"]);
    this.#host = part("host", ["host"]);
    this.#edges = Array.from({ length: config.edge.workers }, (_, index) =>
      part(`edge ${index + 1}`, ["edge", String(index + 1)], plain, EDGE_NODE_OPTIONS),
    );
  }

  /**
   * Starts everything; resolves when store and parts serve.
   * @throws StartError of the first one that does not come up; call `stop` then.
   */
  async start(): Promise<void> {
    // Control takes longest to load and the others wait for it, so it goes first, as soon as the store is up.
    await this.#postgres?.start();
    if (this.#stopping) return;
    const starts = [this.#control, this.#logplex, this.#host, ...this.#edges].map((part) => part.start());
    // All settle before the first failure is told, so that none is forgotten by `stop`.
    await Promise.all(starts);
  }

  /**
   * Edges close their listeners and the host's dynos get SIGTERM at the same moment; then control, the Logplex
   * and, last, the store. Resolves when all are gone. A second call with `now` cuts the first one short.
   */
  stop(now = false): Promise<void> {
    if (now) return this.#stopNow();
    this.#stopping ??= this.#stopInOrder();
    return this.#stopping;
  }

  async #stopInOrder(): Promise<void> {
    await Promise.all([this.#host.stop(HOST_STOP_MS), ...this.#edges.map((edge) => edge.stop(EDGE_STOP_MS))]);
    await this.#control.stop(CONTROL_STOP_MS);
    await this.#logplex.stop(LOGPLEX_STOP_MS);
    await this.#postgres?.stop();
  }

  async #stopNow(): Promise<void> {
    const parts = [this.#host, ...this.#edges, this.#control, this.#logplex];
    await Promise.all(parts.map((part) => part.stop(NOW_MS, true)));
    await this.#postgres?.stop(true);
  }
}
