import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** npm answers in a fraction of this; without an answer builds ask the npm in their box. */
const ANSWER_MS = 10_000;

/** The registry that the operator's npm uses, for builds, whose boxes do not see npm's settings; null without npm. */
export async function npmRegistry(env: NodeJS.ProcessEnv): Promise<string | null> {
  const set = env.npm_config_registry ?? env.NPM_CONFIG_REGISTRY;
  if (set) return set;
  try {
    const { stdout } = await run("npm", ["config", "get", "registry"], { env, timeout: ANSWER_MS });
    const url = stdout.trim();
    return URL.canParse(url) ? url : null;
  } catch {
    return null;
  }
}
