/*
 * The operator's settings that a build gets (design section 8.3): how to reach registries, and whom to trust.
 * `npm start` itself sets npm_config_* variables that name folders of the operator's npm; those stay outside.
 */

const PLAIN = new Set([
  "NODE_EXTRA_CA_CERTS",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
  "all_proxy",
]);
/** Settings of npm that say where the operator's own npm keeps and finds its things. */
const NPM_OWN = new Set([
  "cache",
  "userconfig",
  "globalconfig",
  "prefix",
  "local_prefix",
  "global_prefix",
  "init_module",
  "node_gyp",
  "npm_version",
  "user_agent",
  "nodedir",
  "tmp",
  "loglevel",
  "yes",
  "global",
  "location",
  "omit",
  "include",
  "only",
  "production",
  "ignore_scripts",
  "dry_run",
  "package_lock",
  "package_lock_only",
  "workspace",
  "workspaces",
  "json",
]);

/** Of `env`, what builds get. */
export function operatorEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (!value) continue;
    if (PLAIN.has(name) || /^PIP_[A-Z_]+$/.test(name)) kept[name] = value;
    const npm = /^npm_config_(.+)$/i.exec(name);
    if (npm && !NPM_OWN.has(npm[1]!.toLowerCase().replaceAll("-", "_"))) kept[name] = value;
  }
  return kept;
}
