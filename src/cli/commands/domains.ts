import { type AppOptions, addAppCommand, addAppListing, type JsonOption, type Noun } from "../command.ts";

interface Domain {
  hostname: string;
  kind: string;
  cname: string | null;
  status: string;
}

export const domains: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "domains", {
    group: "Apps:",
    summary: "list the host names that lead to the app",
    examples: ["sluice domains"],
  }).action(async (options: AppOptions & JsonOption) => {
    const list = await session.api.list<Domain>(session.path(options, "domains"));
    if (options.json) return out.json(list);
    // The app's own host name first.
    const order = (domain: Domain): string => (domain.kind === "heroku" ? "" : domain.hostname);
    out.table(
      ["HOSTNAME", "KIND", "DNS TARGET"],
      list
        .sort((a, b) => (order(a) < order(b) ? -1 : 1))
        .map((domain) => [domain.hostname, domain.kind, domain.cname ?? ""]),
    );
  });

  addAppCommand(program, "domains:add <hostname>", {
    group: "Apps:",
    summary: "let a host name lead to the app",
    examples: ["sluice domains:add www.example.com", "sluice domains:add '*.example.com'"],
  }).action(async (hostname: string, options: AppOptions) => {
    const domain = await session.api.post<Domain>(session.path(options, "domains"), {
      hostname,
      sni_endpoint: null,
    });
    out.line(`${domain.hostname} leads to ${session.app(options)}.`);
    if (domain.cname) out.line(`Point its DNS to ${domain.cname}.`);
  });

  addAppCommand(program, "domains:remove <hostname>", {
    group: "Apps:",
    summary: "take a host name from the app",
    examples: ["sluice domains:remove www.example.com"],
  }).action(async (hostname: string, options: AppOptions) => {
    await session.api.delete(session.path(options, "domains", hostname));
    out.line(`${hostname} no longer leads to ${session.app(options)}.`);
  });
};
