import { type AppOptions, addAppCommand, addAppListing, type JsonOption, type Noun } from "../command.ts";
import { Failure, UsageFailure } from "../failure.ts";
import type { Session } from "../session.ts";
import { shellQuoted } from "../shell.ts";

type Vars = Record<string, string>;

/** `A=1` taken apart; the value may hold anything, further `=` and line ends included. */
export function parsePair(pair: string): [name: string, value: string] {
  const at = pair.indexOf("=");
  if (at < 1) throw new UsageFailure(`"${pair}" is not NAME=VALUE.`);
  return [pair.slice(0, at), pair.slice(at + 1)];
}

/** The newest release's name, for the line that says what a change made. */
async function newest(session: Session, options: AppOptions): Promise<string> {
  const [release] = await session.api.list<{ version: number }>(
    session.path(options, "releases"),
    "version ..; order=desc,max=1",
  );
  return release ? `v${release.version}` : "no release";
}

export const config: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "config", {
    group: "Apps:",
    summary: "show the config vars",
    examples: ["sluice config", "sluice config --shell > .env", "sluice config --json"],
  })
    .option("-s, --shell", "print NAME=VALUE lines that a shell takes")
    .action(async (options: AppOptions & JsonOption & { shell?: boolean }) => {
      const vars = await session.api.get<Vars>(session.path(options, "config-vars"));
      if (options.json) return out.json(vars);
      const names = Object.keys(vars).sort();
      if (options.shell) {
        for (const name of names) out.line(`${name}=${shellQuoted(vars[name]!)}`);
      } else if (names.length > 0) out.fields(names.map((name) => [out.paint("green", name), vars[name]!]));
      else out.remark(`${session.app(options)} has no config vars.`);
    });

  addAppCommand(program, "config:get <name>", {
    group: "Apps:",
    summary: "print one config var's value",
    examples: ["sluice config:get DATABASE_URL", 'psql "$(sluice config:get DATABASE_URL)"'],
  }).action(async (name: string, options: AppOptions) => {
    const vars = await session.api.get<Vars>(session.path(options, "config-vars"));
    if (!Object.hasOwn(vars, name)) throw new Failure(`${session.app(options)} has no config var ${name}.`);
    out.line(vars[name]);
  });

  addAppCommand(program, "config:set <name=value...>", {
    group: "Apps:",
    summary: "set config vars: a new release, and a restart",
    examples: ["sluice config:set GREETING=hi LIMIT=10", 'sluice config:set KEY="$(cat key.pem)"'],
  }).action(async (pairs: string[], options: AppOptions) => {
    const vars: Vars = Object.fromEntries(pairs.map(parsePair));
    await session.api.patch<Vars>(session.path(options, "config-vars"), vars);
    out.line(
      `Set ${Object.keys(vars).join(", ")} on ${session.app(options)}: ${await newest(session, options)}.`,
    );
  });

  addAppCommand(program, "config:unset <name...>", {
    group: "Apps:",
    summary: "remove config vars: a new release, and a restart",
    examples: ["sluice config:unset GREETING LIMIT"],
    aliases: ["config:remove"],
  }).action(async (names: string[], options: AppOptions) => {
    await session.api.patch<Vars>(
      session.path(options, "config-vars"),
      Object.fromEntries(names.map((name) => [name, null])),
    );
    out.line(`Removed ${names.join(", ")} from ${session.app(options)}: ${await newest(session, options)}.`);
  });
};
