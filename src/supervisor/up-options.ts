import { parseArgs } from "node:util";
import { StartError } from "./start-error.ts";

/** Options of `sluice up`, each a short way to set one variable. */
const OPTIONS: Record<string, { variable: string; help: string }> = {
  home: { variable: "SLUICE_HOME", help: "data directory (default: .sluice in the working directory)" },
  "edge-host": { variable: "SLUICE_EDGE_HOST", help: "address that apps are served on (127.0.0.1)" },
  "edge-port": { variable: "SLUICE_EDGE_PORT", help: "port that apps are served on (8080)" },
  "edge-tls-port": { variable: "SLUICE_EDGE_TLS_PORT", help: "the same over TLS (8443)" },
  workers: { variable: "SLUICE_EDGE_WORKERS", help: "edge processes (one a core)" },
  "api-host": { variable: "SLUICE_API_HOST", help: "address of the API and of git (127.0.0.1)" },
  "api-port": { variable: "SLUICE_API_PORT", help: "port of the API and of git (5000)" },
  "api-tls-port": { variable: "SLUICE_API_TLS_PORT", help: "the same over TLS (5443)" },
  "app-domain": { variable: "SLUICE_APP_DOMAIN", help: "apps are <app>.<this> (localhost)" },
};

export const UP_HELP = `Usage: sluice up [options]

Starts Sluice on this machine: the store and all parts. Ctrl-C stops it.
Port 0 takes a free one; the line that begins with "ready" names the real ones.

Options (each also by its variable; the README lists all variables):
${Object.entries(OPTIONS)
  .map(([name, { variable, help }]) => `  ${`--${name} VALUE`.padEnd(24)}${help}  [${variable}]`)
  .join("\n")}
  -h, --help              this text
`;

/**
 * The variables that the options of `sluice up` set; null when help was asked for.
 * @throws StartError for an option that is not one of its.
 */
export function readUpOptions(args: string[]): Record<string, string> | null {
  const options = Object.fromEntries(Object.keys(OPTIONS).map((name) => [name, { type: "string" as const }]));
  try {
    const { values } = parseArgs({
      args,
      options: { ...options, help: { type: "boolean" as const, short: "h" } },
      strict: true,
    });
    if (values.help) return null;
    const set: Record<string, string> = {};
    for (const [name, value] of Object.entries(values)) {
      const option = OPTIONS[name];
      if (option && typeof value === "string") set[option.variable] = value;
    }
    return set;
  } catch (error) {
    throw new StartError(`${(error as Error).message.split(". ")[0]}: see \`sluice up --help\`.`);
  }
}
