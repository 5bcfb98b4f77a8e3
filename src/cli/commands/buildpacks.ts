import {
  type AppOptions,
  addAppCommand,
  addAppListing,
  type JsonOption,
  type Noun,
  parseCount,
} from "../command.ts";
import { Failure } from "../failure.ts";
import type { Session } from "../session.ts";

interface Installation {
  ordinal: number;
  buildpack: { name: string; url: string };
}

const NAMES = "A name such as heroku/nodejs is a shipped buildpack; anything else is a git URL.";

async function current(session: Session, options: AppOptions): Promise<Installation[]> {
  const list = await session.api.list<Installation>(session.path(options, "buildpack-installations"));
  return list.sort((a, b) => a.ordinal - b.ordinal);
}

function show(session: Session, options: AppOptions, list: Installation[]): void {
  if (list.length === 0)
    session.out.remark(`${session.app(options)} has no buildpacks set: one is detected at each build.`);
  list.forEach((installation, index) => {
    session.out.line(`${index + 1}. ${installation.buildpack.name || installation.buildpack.url}`);
  });
}

/** Sets the whole list and shows what it is now; it counts from the next build. */
async function replace(session: Session, options: AppOptions, buildpacks: string[]): Promise<void> {
  const list = await session.api.put<Installation[]>(session.path(options, "buildpack-installations"), {
    updates: buildpacks.map((buildpack) => ({ buildpack })),
  });
  show(session, options, list);
}

export const buildpacks: Noun = (program, session) => {
  addAppListing(program, "buildpacks", {
    group: "Deploys:",
    summary: "list the buildpacks set",
    examples: ["sluice buildpacks"],
  }).action(async (options: AppOptions & JsonOption) => {
    const list = await current(session, options);
    if (options.json) session.out.json(list);
    else show(session, options, list);
  });

  addAppCommand(program, "buildpacks:set <name|url>", {
    group: "Deploys:",
    summary: "build with this buildpack; with -i put it at that place of the list",
    more: NAMES,
    examples: [
      "sluice buildpacks:set heroku/nodejs",
      "sluice buildpacks:set -i 2 https://example.com/buildpack.git",
    ],
  })
    .option("-i, --index <place>", "place in the list, from 1", parseCount)
    .action(async (name: string, options: AppOptions & { index?: number }) => {
      const list = options.index ? (await current(session, options)).map((one) => one.buildpack.url) : [];
      list.splice((options.index ?? 1) - 1, 1, name);
      await replace(session, options, list);
    });

  addAppCommand(program, "buildpacks:add <name|url>", {
    group: "Deploys:",
    summary: "add a buildpack, at the end of the list or at a place of it",
    more: NAMES,
    examples: ["sluice buildpacks:add heroku/python", "sluice buildpacks:add -i 1 heroku/nodejs"],
  })
    .option("-i, --index <place>", "place in the list, from 1", parseCount)
    .action(async (name: string, options: AppOptions & { index?: number }) => {
      const list = (await current(session, options)).map((one) => one.buildpack.url);
      list.splice((options.index ?? list.length + 1) - 1, 0, name);
      await replace(session, options, list);
    });

  addAppCommand(program, "buildpacks:remove <name|url>", {
    group: "Deploys:",
    summary: "take a buildpack from the list",
    examples: ["sluice buildpacks:remove heroku/nodejs"],
  }).action(async (name: string, options: AppOptions) => {
    const list = await current(session, options);
    const kept = list.filter(({ buildpack }) => buildpack.name !== name && buildpack.url !== name);
    if (kept.length === list.length)
      throw new Failure(`${session.app(options)} has no buildpack ${name} set.`);
    await replace(
      session,
      options,
      kept.map((one) => one.buildpack.url),
    );
  });

  addAppCommand(program, "buildpacks:clear", {
    group: "Deploys:",
    summary: "set none: one is detected at each build",
    examples: ["sluice buildpacks:clear"],
  }).action((options: AppOptions) => replace(session, options, []));
};
