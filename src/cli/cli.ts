import { Command, CommanderError } from "commander";
import type { Noun } from "./command.ts";
import { apps } from "./commands/apps.ts";
import { buildpacks } from "./commands/buildpacks.ts";
import { builds } from "./commands/builds.ts";
import { config } from "./commands/config.ts";
import { domains } from "./commands/domains.ts";
import { drains } from "./commands/drains.ts";
import { features } from "./commands/features.ts";
import { gitCredentials } from "./commands/git-credentials.ts";
import { heroku } from "./commands/heroku.ts";
import { login } from "./commands/login.ts";
import { logs } from "./commands/logs.ts";
import { maintenance } from "./commands/maintenance.ts";
import { open } from "./commands/open.ts";
import { ps } from "./commands/ps.ts";
import { releases } from "./commands/releases.ts";
import { run } from "./commands/run.ts";
import { status } from "./commands/status.ts";
import { EXIT, Failure } from "./failure.ts";
import { manual } from "./manual.ts";
import { Output } from "./output.ts";
import { Session } from "./session.ts";

/** In the order of the help. */
const NOUNS: readonly Noun[] = [
  apps,
  config,
  domains,
  features,
  maintenance,
  open,
  builds,
  buildpacks,
  releases,
  ps,
  run,
  logs,
  drains,
  login,
  status,
  heroku,
  gitCredentials,
];

const SERVERS = `
Servers:
  up                                start everything on this machine (what \`npm start\` does)
  edge, logplex, control, host      start one part alone

Examples:
  $ sluice create hello && git push sluice main
  $ sluice logs --tail
  $ sluice run bash

Words may stand apart, too: \`sluice config set A=1\`. Each command has its own --help.
Which Sluice: SLUICE_API_URL and SLUICE_API_KEY, else ~/.config/sluice/config.json (\`sluice login\`).
Which app: -a, SLUICE_APP, else the git remote \`sluice\` or \`heroku\`.`;

/** The whole command line as commander's tree. */
export function buildProgram(session: Session): Command {
  const program = new Command("sluice")
    .description("A self-hosted Heroku: push an app, reach it, read its logs.")
    .usage("<command> [options]")
    .enablePositionalOptions()
    .exitOverride()
    .showSuggestionAfterError()
    .helpCommand("help [command]", "show the help of a command")
    .configureHelp({
      // Aliases and arguments are told in each command's own help.
      subcommandTerm: (command) => command.name(),
      showGlobalOptions: false,
    })
    .configureOutput({
      writeOut: (text) => session.out.line(text.trimEnd()),
      writeErr: (text) => session.out.remark(text.trimEnd()),
      // One sentence; commander puts what it guesses on a line of its own.
      outputError: (text, write) =>
        write(
          `sluice: ${text
            .trim()
            .replace(/^error: /, "")
            .replace(/\n/g, " ")}; see \`sluice --help\`.\n`,
        ),
    })
    .addHelpText("after", SERVERS);
  for (const noun of NOUNS) noun(program, session);
  for (const command of program.commands) {
    const below = program.commands.filter((other) => other.name().startsWith(`${command.name()}:`));
    if (below.length > 0) {
      const names = below.map((other) => other.name()).join(", ");
      command.addHelpText("after", `\nSee also: ${names}`);
    }
  }
  manual(program, session);
  return program;
}

/** `config set A=1` is `config:set A=1`: two words that together name a command become one. */
export function joinWords(program: Command, args: readonly string[]): string[] {
  const names = new Set(program.commands.flatMap((command) => [command.name(), ...command.aliases()]));
  const at = args[0] === "help" ? 1 : 0;
  const joined = `${args[at]}:${args[at + 1]}`;
  return names.has(joined) ? [...args.slice(0, at), joined, ...args.slice(at + 2)] : [...args];
}

/** Runs one command line and answers the exit status: 0 done, 1 failed, 2 the command line itself is wrong. */
export async function runCli(args: readonly string[]): Promise<number> {
  const out = new Output(process.stdout, process.stderr, process.env);
  // `sluice logs | head`: the reader has gone, and so may we.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  const session = new Session(process.env, process.cwd(), out);
  const program = buildProgram(session);
  try {
    if (args.length === 0) {
      program.outputHelp();
      return EXIT.ok;
    }
    await program.parseAsync(joinWords(program, args), { from: "user" });
    return session.status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof Failure) {
      out.remark(`sluice: ${error.message}`);
      return error.status;
    }
    const problem = error as Error;
    out.remark(`sluice: ${problem.message} (a fault of sluice itself; SLUICE_LOG_LEVEL=debug shows where)`);
    if (process.env.SLUICE_LOG_LEVEL === "debug") out.remark(problem.stack ?? "");
    return EXIT.failed;
  }
}
