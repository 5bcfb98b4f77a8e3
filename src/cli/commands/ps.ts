import { type AppOptions, addAppCommand, addAppListing, type JsonOption, type Noun } from "../command.ts";
import { UsageFailure } from "../failure.ts";
import { ago, type Colour } from "../output.ts";
import type { Session } from "../session.ts";

interface Dyno {
  name: string;
  type: string;
  size: string;
  state: string;
  command: string;
  release: { version: number };
  updated_at: string;
}

interface FormationRow {
  type: string;
  quantity: number;
  size: string;
  command: string;
}

const STATE_COLOURS: Record<string, Colour> = {
  up: "green",
  starting: "yellow",
  idle: "dim",
  crashed: "red",
  down: "red",
};

/** `web=2`, `web+1`, `web=2:standard-1x`, `worker=0` as the API takes them. */
export function parseScale(word: string): { type: string; quantity: string; size?: string } {
  const parts = /^([\w-]+?)(?:=(\d+)|([+-]\d+))(?::([\w-]+))?$/.exec(word);
  if (!parts)
    throw new UsageFailure(`"${word}" is not TYPE=COUNT, TYPE+COUNT, TYPE-COUNT or TYPE=COUNT:SIZE.`);
  const [, type, absolute, relative, size] = parts;
  return { type: type!, quantity: absolute ?? relative!, ...(size ? { size } : {}) };
}

/** `web=standard-1x` as the API takes it. */
export function parseSize(word: string): { type: string; size: string } {
  const [type, size, ...more] = word.split("=");
  if (!type || !size || more.length > 0) throw new UsageFailure(`"${word}" is not TYPE=SIZE.`);
  return { type, size };
}

/** Dynos by type, then by number: `web.2` before `web.10`. */
const byName = (a: Dyno, b: Dyno): number =>
  a.type === b.type
    ? Number(a.name.split(".").at(-1)) - Number(b.name.split(".").at(-1))
    : a.type < b.type
      ? -1
      : 1;

/** Changes what `updates` name and answers those rows; without any, all rows as they are. */
const changeFormation = (
  session: Session,
  options: AppOptions,
  updates: object[],
): Promise<FormationRow[]> => {
  const path = session.path(options, "formation");
  return updates.length === 0
    ? session.api.list<FormationRow>(path)
    : session.api.patch<FormationRow[]>(path, { updates });
};

function showFormation(session: Session, options: AppOptions & JsonOption, rows: FormationRow[]): void {
  if (options.json) session.out.json(rows);
  else if (rows.length === 0) {
    session.out.remark(`${session.app(options)} has no process types; deploy it first.`);
  } else session.out.line(rows.map((row) => `${row.type}=${row.quantity}:${row.size}`).join(" "));
}

/** One dyno (`web.1`), one type (`web`) or all: the path to restart or stop it by. */
const which = (name: string): string[] => (name.includes(".") ? ["dynos", name] : ["formations", name]);

export const ps: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "ps", {
    group: "Processes:",
    summary: "list the dynos",
    examples: ["sluice ps", "sluice ps --json"],
  }).action(async (options: AppOptions & JsonOption) => {
    const [dynos, releases] = await Promise.all([
      session.api.list<Dyno>(session.path(options, "dynos")),
      session.api.list<{ version: number; trouble?: string | null }>(
        session.path(options, "releases"),
        "version ..; order=desc,max=1",
      ),
    ]);
    if (options.json) return out.json(dynos);
    for (const { version, trouble } of releases) if (trouble) out.remark(`v${version}: ${trouble}`);
    if (dynos.length === 0) {
      return out.remark(
        `${session.app(options)} runs no dynos; deploy it, or scale it: sluice ps:scale web=1`,
      );
    }
    out.table(
      ["DYNO", "STATE", "FOR", "SIZE", "RELEASE", "COMMAND"],
      dynos
        .sort(byName)
        .map((dyno) => [
          dyno.name,
          dyno.state,
          ago(dyno.updated_at),
          dyno.size,
          `v${dyno.release.version}`,
          dyno.command.replaceAll("\n", " "),
        ]),
      (cell, column) => (column === 1 ? out.paint(STATE_COLOURS[cell] ?? "yellow", cell) : cell),
    );
  });

  addAppListing(program, "ps:scale [type=count...]", {
    group: "Processes:",
    summary: "show or change how many dynos of each type run",
    examples: [
      "sluice ps:scale",
      "sluice ps:scale web=2 worker=1",
      "sluice ps:scale web+1 worker=2:standard-2x",
    ],
    aliases: ["scale"],
  }).action(async (words: string[], options: AppOptions & JsonOption) => {
    showFormation(session, options, await changeFormation(session, options, words.map(parseScale)));
  });

  addAppListing(program, "ps:type [type=size...]", {
    group: "Processes:",
    summary: "show or change the size of each type's dynos",
    more: "Sizes: eco, basic, standard-1x, standard-2x, performance-m, performance-l.",
    examples: ["sluice ps:type web=standard-2x"],
    aliases: ["ps:resize"],
  }).action(async (words: string[], options: AppOptions & JsonOption) => {
    showFormation(session, options, await changeFormation(session, options, words.map(parseSize)));
  });

  addAppCommand(program, "ps:restart [dyno|type]", {
    group: "Processes:",
    summary: "restart all dynos, those of a type, or one",
    examples: ["sluice ps:restart", "sluice ps:restart worker", "sluice ps:restart web.1"],
    aliases: ["restart"],
  }).action(async (name: string | undefined, options: AppOptions) => {
    await session.api.delete(session.path(options, ...(name ? which(name) : ["dynos"])));
    out.line(`Restarting ${name ?? "all dynos"} of ${session.app(options)}.`);
  });

  addAppCommand(program, "ps:stop <dyno|type>", {
    group: "Processes:",
    summary: "stop a one-off dyno; a dyno of the formation starts again",
    examples: ["sluice ps:stop run.1234"],
    aliases: ["ps:kill"],
  }).action(async (name: string, options: AppOptions) => {
    await session.api.post(session.path(options, ...which(name), "actions", "stop"));
    out.line(`Stopping ${name} of ${session.app(options)}.`);
  });
};
