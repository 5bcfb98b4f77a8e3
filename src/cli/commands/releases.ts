import {
  type AppOptions,
  addAppCommand,
  addAppListing,
  type JsonOption,
  type Noun,
  parseCount,
} from "../command.ts";
import { Failure, UsageFailure } from "../failure.ts";
import { ago, type Colour } from "../output.ts";
import { printStream } from "../print-stream.ts";
import type { Session } from "../session.ts";

interface Release {
  id: string;
  version: number;
  description: string;
  status: string;
  current: boolean;
  eligible_for_rollback?: boolean;
  output_stream_url: string | null;
  slug: { id: string } | null;
  user: { email: string };
  /** Sluice's own: why its dynos do not serve, in a sentence. */
  trouble?: string | null;
  created_at: string;
}

const STATUS_COLOURS: Record<string, Colour> = { failed: "red", pending: "yellow" };

/** `v3` or `3`. */
export function parseVersion(word: string): number {
  const version = /^v?([1-9]\d*)$/.exec(word)?.[1];
  if (!version) throw new UsageFailure(`"${word}" is not a release; say v3 or 3.`);
  return Number(version);
}

const lastReleases = (session: Session, options: AppOptions, count: number): Promise<Release[]> =>
  session.api.list<Release>(session.path(options, "releases"), `version ..; order=desc,max=${count}`);

async function oneRelease(session: Session, options: AppOptions, word: string | undefined): Promise<Release> {
  if (word) return session.api.get<Release>(session.path(options, "releases", String(parseVersion(word))));
  const [release] = await lastReleases(session, options, 1);
  if (!release) throw new Failure(`${session.app(options)} has no releases.`);
  return release;
}

export const releases: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "releases", {
    group: "Deploys:",
    summary: "list the releases, newest first",
    examples: ["sluice releases", "sluice releases -n 50 --json"],
  })
    .option("-n, --num <count>", "how many", parseCount, 15)
    .action(async (options: AppOptions & JsonOption & { num: number }) => {
      const list = await lastReleases(session, options, options.num);
      if (options.json) return out.json(list);
      if (list.length === 0) return out.remark(`${session.app(options)} has no releases.`);
      for (const { version, trouble } of list) if (trouble) out.remark(`v${version}: ${trouble}`);
      out.table(
        ["RELEASE", "STATUS", "AGO", "BY", "DESCRIPTION"],
        list.map((release) => [
          `v${release.version}`,
          release.current ? "current" : release.status,
          ago(release.created_at),
          release.user.email,
          release.description,
        ]),
        out.painter(1, STATUS_COLOURS),
      );
    });

  addAppListing(program, "releases:info [release]", {
    group: "Deploys:",
    summary: "show one release; without a name the newest",
    examples: ["sluice releases:info v3"],
  }).action(async (word: string | undefined, options: AppOptions & JsonOption) => {
    const release = await oneRelease(session, options, word);
    if (options.json) return out.json(release);
    out.fields([
      ["release", `v${release.version}`],
      ["description", release.description],
      ["status", release.current ? `${release.status}, current` : release.status],
      ["by", release.user.email],
      ["created", release.created_at],
      ["slug", release.slug?.id ?? "none"],
      ...(release.trouble ? ([["trouble", release.trouble]] as const) : []),
    ]);
  });

  addAppCommand(program, "releases:output [release]", {
    group: "Deploys:",
    summary: "print what a release's command printed, following it while it runs",
    examples: ["sluice releases:output v3"],
  }).action(async (word: string | undefined, options: AppOptions) => {
    const release = await oneRelease(session, options, word);
    if (!release.output_stream_url) return out.remark(`v${release.version} ran no release command.`);
    await printStream(session, release.output_stream_url);
  });

  addAppCommand(program, "rollback [release]", {
    group: "Deploys:",
    summary: "make a new release of an earlier one's code and config vars",
    more: "Without a name: the one before the current. Add-ons and their data stay as they are.",
    examples: ["sluice rollback", "sluice rollback v3"],
    aliases: ["releases:rollback"],
  }).action(async (word: string | undefined, options: AppOptions) => {
    const target = word ? await oneRelease(session, options, word) : await lastGood(session, options);
    const made = await session.api.post<Release>(session.path(options, "releases"), { release: target.id });
    out.line(`Rolled ${session.app(options)} back to v${target.version}: v${made.version}.`);
    if (made.output_stream_url) await printStream(session, made.output_stream_url);
  });
};

/** The one before the current among those that can be gone back to. */
async function lastGood(session: Session, options: AppOptions): Promise<Release> {
  const good = (await lastReleases(session, options, 50)).filter((release) => release.eligible_for_rollback);
  if (!good[1]) throw new Failure(`${session.app(options)} has no earlier release to go back to.`);
  return good[1];
}
