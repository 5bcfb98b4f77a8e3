import { type AppOptions, addAppCommand, addAppListing, type JsonOption, type Noun } from "../command.ts";
import { redacted } from "../remotes.ts";

interface Drain {
  url: string;
  token: string;
  addon: { name: string } | null;
}

export const drains: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "drains", {
    group: "Logs:",
    summary: "list the drains that the app's log goes to",
    examples: ["sluice drains"],
  }).action(async (options: AppOptions & JsonOption) => {
    const list = await session.api.list<Drain>(session.path(options, "log-drains"));
    if (options.json) return out.json(list);
    if (list.length === 0) return out.remark(`${session.app(options)} has no drains.`);
    out.table(
      ["TOKEN", "URL"],
      list.map((drain) => [drain.token, drain.addon?.name ?? redacted(drain.url)]),
    );
  });

  addAppCommand(program, "drains:add <url>", {
    group: "Logs:",
    summary: "send the app's log to a URL: https, syslog or syslog+tls",
    examples: [
      "sluice drains:add syslog+tls://logs.example.com:6514",
      "sluice drains:add https://user:secret@logs.example.com/in",
    ],
  }).action(async (url: string, options: AppOptions) => {
    const drain = await session.api.post<Drain>(session.path(options, "log-drains"), { url });
    out.line(`The log of ${session.app(options)} goes to ${redacted(drain.url)} as ${drain.token}.`);
  });

  addAppCommand(program, "drains:remove <url|token>", {
    group: "Logs:",
    summary: "remove a drain",
    examples: ["sluice drains:remove d.01234567-89ab-cdef-0123-456789abcdef"],
  }).action(async (which: string, options: AppOptions) => {
    await session.api.delete(session.path(options, "log-drains", which));
    out.line(`Removed the drain ${redacted(which)}.`);
  });
};
