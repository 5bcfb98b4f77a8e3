import { Api } from "./api.ts";
import type { Output } from "./output.ts";
import { chooseApp } from "./remotes.ts";
import { readTarget, type Target } from "./target.ts";

/** What every command works with: the surroundings it was called in, and the Sluice that it speaks to. */
export class Session {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly out: Output;
  /** Exit status of a command that ends well but passes another program's status on. */
  status = 0;
  #api: Api | null = null;

  constructor(env: NodeJS.ProcessEnv, cwd: string, out: Output) {
    this.env = env;
    this.cwd = cwd;
    this.out = out;
  }

  get target(): Target {
    return this.api.target;
  }

  /** The API; the settings are read when it is first asked for, so `--help` needs none. */
  get api(): Api {
    this.#api ??= new Api(readTarget(this.env));
    return this.#api;
  }

  /** Name of the app meant. */
  app(options: { app?: string; remote?: string }): string {
    return chooseApp(options, this.env, this.cwd);
  }

  /** Path of the app meant, and of what is below it: `/apps/hello/dynos/web.1`. */
  path(options: { app?: string; remote?: string }, ...below: string[]): string {
    return ["/apps", this.app(options), ...below]
      .map((part, index) => (index ? encodeURIComponent(part) : part))
      .join("/");
  }
}
