import type { Command } from "commander";
import { UsageFailure } from "./failure.ts";
import type { Session } from "./session.ts";

/** Headings of the help, in the order shown. */
export const GROUPS = ["Apps:", "Deploys:", "Processes:", "Logs:", "Access:"] as const;

export interface About {
  group: (typeof GROUPS)[number];
  summary: string;
  /** Shown below the options; the first word of each is `sluice`. */
  examples: readonly string[];
  /** Further text between the options and the examples. */
  more?: string;
  /** Other names, not shown in the list. */
  aliases?: readonly string[];
}

export interface AppOptions {
  app?: string;
  remote?: string;
}

export interface JsonOption {
  json?: boolean;
}

/** Adds the command `spec` (`config:set <pairs...>`) with its help. */
export function addCommand(program: Command, spec: string, about: About): Command {
  const command = program
    .command(spec)
    .summary(about.summary)
    .description(about.summary)
    .helpGroup(about.group);
  for (const alias of about.aliases ?? []) command.alias(alias);
  const more = about.more ? `\n${about.more}\n` : "";
  const examples = about.examples.map((example) => `  $ ${example}`).join("\n");
  command.addHelpText("after", `${more}\nExamples:\n${examples}`);
  return command;
}

/** The same for a command about one app: `-a`, `-r`. */
export function addAppCommand(program: Command, spec: string, about: About): Command {
  return addCommand(program, spec, about)
    .option("-a, --app <app>", "app to act on; default: SLUICE_APP, else the git remote's")
    .option("-r, --remote <remote>", "git remote that names the app; default: sluice, else heroku");
}

/** The same for a listing of an app: `--json` prints what the API answers. */
export function addAppListing(program: Command, spec: string, about: About): Command {
  return addAppCommand(program, spec, about).option("--json", "print the API's answer as JSON");
}

/** A file that holds the commands of one noun. */
export type Noun = (program: Command, session: Session) => void;

/** A count for `-n`, from 1. */
export function parseCount(word: string): number {
  if (!/^[1-9]\d{0,5}$/.test(word))
    throw new UsageFailure(`"${word}" is not a count; say a whole number from 1.`);
  return Number(word);
}
