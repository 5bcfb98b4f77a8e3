import { type ChildProcess, execFile, type SpawnOptions, spawn } from "node:child_process";
import { chmod, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { HOOK_SCRIPT } from "./hook.ts";

/** Bytes that one push may bring (`receive.maxInputSize`). */
const PUSH_LIMIT = 2 * 1024 * 1024 * 1024;

/** Settings of every git that control runs; the operator's own configuration is not read. */
const SETTINGS: Record<string, string> = {
  "safe.directory": "*",
  "transfer.fsckObjects": "true",
  // Old, harmless faults that real histories hold and that git itself only warns of elsewhere.
  "receive.fsck.zeroPaddedFilemode": "warn",
  "receive.fsck.missingSpaceBeforeDate": "warn",
  "receive.fsck.badTimezone": "warn",
  "receive.fsck.missingEmail": "warn",
  "receive.maxInputSize": String(PUSH_LIMIT),
  "receive.denyDeleteCurrent": "ignore",
  "receive.advertisePushOptions": "false",
  "gc.auto": "2000",
  "tar.umask": "0022",
};

const exec = promisify(execFile);

/** Where the app's repository lies below control's folder. */
export const repositoryFolder = (control: string, appId: string): string =>
  path.join(control, "git", `${appId}.git`);

/** The bare repositories of all apps, one an app id, each made at its first use. */
export class Repositories {
  #folder: string;
  #hooks: string;
  #making = new Map<string, Promise<string>>();

  /** @param folder control's own, for nobody else to write. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#hooks = path.join(folder, "hooks");
  }

  /** Writes the hook anew, so that it is this version's. */
  async open(): Promise<void> {
    await mkdir(this.#hooks, { recursive: true, mode: 0o700 });
    const file = path.join(this.#hooks, "pre-receive");
    await writeFile(`${file}.new`, HOOK_SCRIPT);
    await chmod(`${file}.new`, 0o700);
    await rename(`${file}.new`, file);
    // A repository half made when control was killed.
    for (const name of await readdir(this.#folder)) {
      if (name.endsWith(".making")) await rm(path.join(this.#folder, name), { recursive: true, force: true });
    }
  }

  /** Folder of the app's repository, made when it is not there. */
  async folderOf(appId: string): Promise<string> {
    const folder = path.join(this.#folder, `${appId}.git`);
    if (await isThere(folder)) return folder;
    let making = this.#making.get(appId);
    if (!making) {
      making = this.#make(folder).finally(() => this.#making.delete(appId));
      this.#making.set(appId, making);
    }
    return making;
  }

  async #make(folder: string): Promise<string> {
    const draft = `${folder}.making`;
    await rm(draft, { recursive: true, force: true });
    await exec("git", ["init", "--quiet", "--bare", "--initial-branch=main", "--template=", draft], {
      env: this.environment(),
    });
    await mkdir(path.join(draft, "info"), { recursive: true });
    // A deploy gets every file as it was committed, whatever .gitattributes says of archives.
    await writeFile(path.join(draft, "info", "attributes"), "* -export-ignore -export-subst\n");
    await rename(draft, folder);
    return folder;
  }

  /** Environment of a git process: nothing of the platform, no configuration but ours. */
  environment(extra: Record<string, string> = {}): Record<string, string> {
    const settings = Object.entries({ ...SETTINGS, "core.hooksPath": this.#hooks });
    const env: Record<string, string> = {
      PATH: "/usr/local/bin:/usr/bin:/bin",
      HOME: "/nonexistent",
      LC_ALL: "C",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_TERMINAL_PROMPT: "0",
      GIT_CONFIG_COUNT: String(settings.length),
    };
    for (const [index, [key, value]] of settings.entries()) {
      env[`GIT_CONFIG_KEY_${index}`] = key;
      env[`GIT_CONFIG_VALUE_${index}`] = value;
    }
    return { ...env, ...extra };
  }

  /** Starts git in `folder`; its standard error is dropped unless `options` say otherwise. */
  start(folder: string, args: string[], options: SpawnOptions, extra?: Record<string, string>): ChildProcess {
    return spawn("git", args, { ...options, cwd: folder, env: this.environment(extra) });
  }

  /** What git prints for `args`, trimmed. @throws Error when it fails. */
  async ask(folder: string, args: string[], extra?: Record<string, string>): Promise<string> {
    const { stdout } = await exec("git", args, { cwd: folder, env: this.environment(extra) });
    return stdout.trim();
  }

  /** After a first push to `master`, makes it the branch that a clone checks out. */
  async pointHead(folder: string): Promise<void> {
    const refs = (await this.ask(folder, ["for-each-ref", "--format=%(refname)", "refs/heads"])).split("\n");
    if (refs.includes("refs/heads/main") || !refs.includes("refs/heads/master")) return;
    await this.ask(folder, ["symbolic-ref", "HEAD", "refs/heads/master"]);
  }
}

const isThere = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );
