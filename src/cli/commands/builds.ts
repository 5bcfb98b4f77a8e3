import {
  type AppOptions,
  addAppCommand,
  addAppListing,
  type JsonOption,
  type Noun,
  parseCount,
} from "../command.ts";
import { Failure } from "../failure.ts";
import { ago, type Colour } from "../output.ts";
import { printStream } from "../print-stream.ts";
import type { Session } from "../session.ts";

interface Build {
  id: string;
  status: string;
  output_stream_url: string;
  source_blob: { version: string | null };
  release: { id: string } | null;
  user: { email: string };
  created_at: string;
}

const STATUS_COLOURS: Record<string, Colour> = { succeeded: "green", failed: "red", pending: "yellow" };

const lastBuilds = (session: Session, options: AppOptions, count: number): Promise<Build[]> =>
  session.api.list<Build>(session.path(options, "builds"), `created_at ..; order=desc,max=${count}`);

async function oneBuild(session: Session, options: AppOptions, id: string | undefined): Promise<Build> {
  if (id) return session.api.get<Build>(session.path(options, "builds", id));
  const [build] = await lastBuilds(session, options, 1);
  if (!build)
    throw new Failure(`${session.app(options)} has no builds; make one with \`git push sluice main\`.`);
  return build;
}

export const builds: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "builds", {
    group: "Deploys:",
    summary: "list the builds, newest first",
    examples: ["sluice builds", "sluice builds -n 50 --json"],
  })
    .option("-n, --num <count>", "how many", parseCount, 10)
    .action(async (options: AppOptions & JsonOption & { num: number }) => {
      const list = await lastBuilds(session, options, options.num);
      if (options.json) return out.json(list);
      if (list.length === 0) return out.remark(`${session.app(options)} has no builds yet.`);
      out.table(
        ["BUILD", "STATUS", "AGO", "VERSION", "BY"],
        list.map((build) => [
          build.id,
          build.status,
          ago(build.created_at),
          build.source_blob.version?.slice(0, 12) ?? "",
          build.user.email,
        ]),
        out.painter(1, STATUS_COLOURS),
      );
    });

  addAppCommand(program, "builds:output [build]", {
    group: "Deploys:",
    summary: "print a build's output, following it while it runs; without an id the newest",
    examples: ["sluice builds:output"],
  }).action(async (id: string | undefined, options: AppOptions) => {
    await printStream(session, (await oneBuild(session, options, id)).output_stream_url);
  });

  addAppCommand(program, "builds:cancel [build]", {
    group: "Deploys:",
    summary: "cancel a build that is under way; without an id the newest",
    examples: ["sluice builds:cancel"],
  }).action(async (id: string | undefined, options: AppOptions) => {
    const build = await oneBuild(session, options, id);
    if (build.status !== "pending")
      throw new Failure(`Build ${build.id} has ended already: ${build.status}.`);
    await session.api.delete(session.path(options, "builds", build.id));
    out.line(`Cancelled ${build.id}.`);
  });
};
