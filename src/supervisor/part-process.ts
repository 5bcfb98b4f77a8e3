import { type ChildProcess, fork } from "node:child_process";
import type { PartMessage, SupervisorMessage } from "../config/part.ts";
import { Backoff } from "./backoff.ts";
import { StartError } from "./start-error.ts";

/** How one part is run. */
export interface PartOrder {
  /** As lines and `GET /health` name it: `edge 1`, `control`, … */
  name: string;
  /** Arguments after main.js: `edge`, `1`. */
  args: string[];
  main: string;
  /** Options of Node's beside those of the supervisor. */
  nodeOptions?: readonly string[];
  env: NodeJS.ProcessEnv;
}

/** One part as a process of its own, started again whenever it dies, until it is stopped. */
export class PartProcess {
  readonly name: string;
  #order: PartOrder;
  #child: ChildProcess | null = null;
  #stopping = false;
  #backoff = new Backoff();
  #say: (line: string) => void;
  #onNotes: (notes: string[]) => void;

  constructor(order: PartOrder, say: (line: string) => void, onNotes: (notes: string[]) => void) {
    this.name = order.name;
    this.#order = order;
    this.#say = say;
    this.#onNotes = onNotes;
  }

  /**
   * Starts it; resolves with its ports when it serves.
   * @throws StartError with its own sentence when it does not come up.
   */
  async start(): Promise<Record<string, number>> {
    const { child, ready, exit } = this.#fork();
    const ports = await ready;
    this.#backoff.began();
    void exit.then((why) => this.#died(child, why));
    return ports;
  }

  /** Asks it to end, and ends it after `ms`. Resolves when the process is gone. */
  async stop(ms: number, now = false): Promise<void> {
    this.#stopping = true;
    this.#backoff.cancel();
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((exit) => child.once("exit", exit));
    const message: SupervisorMessage = now ? { kind: "stop", now } : { kind: "stop" };
    if (child.connected) child.send(message, () => {});
    const kill = setTimeout(() => {
      this.#say(`${this.name} did not end in ${ms / 1000} s and is killed`);
      child.kill("SIGKILL");
    }, ms);
    await gone;
    clearTimeout(kill);
  }

  #fork(): { child: ChildProcess; ready: Promise<Record<string, number>>; exit: Promise<string> } {
    const child = fork(this.#order.main, this.#order.args, {
      env: this.#order.env,
      execArgv: [...process.execArgv, ...(this.#order.nodeOptions ?? [])],
      // Parts run as other users, who may not be able to walk to this folder.
      cwd: "/",
      // Standard output is the ready line's alone; the edge's native library prints debugging words there.
      stdio: ["ignore", "ignore", 2, "ipc"],
    });
    this.#child = child;
    const exit = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `exit status ${code}`));
    });
    const ready = new Promise<Record<string, number>>((resolve, reject) => {
      child.on("message", (message: PartMessage) => {
        if (message.kind === "failed") reject(new StartError(message.message));
        else {
          this.#onNotes(message.notes);
          resolve(message.ports);
        }
      });
      void exit.then((why) => reject(new StartError(`${this.name} ended while it started (${why}).`)));
    });
    return { child, ready, exit };
  }

  #died(child: ChildProcess, why: string): void {
    if (this.#stopping || this.#child !== child) return;
    const delay = this.#backoff.next();
    this.#say(`${this.name} died (${why}); it is started again in ${delay} ms`);
    this.#again(delay);
  }

  #again(delay: number): void {
    this.#backoff.schedule(delay, () => {
      this.start().catch((error: unknown) => {
        if (this.#stopping) return;
        const next = this.#backoff.next();
        this.#say(`${error instanceof Error ? error.message : error} It is tried again in ${next} ms`);
        this.#again(next);
      });
    });
  }
}
