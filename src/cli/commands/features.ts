import { type AppOptions, addAppCommand, addAppListing, type JsonOption, type Noun } from "../command.ts";

interface Feature {
  name: string;
  description: string;
  enabled: boolean;
}

export const features: Noun = (program, session) => {
  const { out } = session;

  addAppListing(program, "features", {
    group: "Apps:",
    summary: "list what can be switched on and off for the app",
    examples: ["sluice features"],
  }).action(async (options: AppOptions & JsonOption) => {
    const list = await session.api.list<Feature>(session.path(options, "features"));
    if (options.json) return out.json(list);
    out.table(
      ["FEATURE", "STATE", "WHAT IT DOES"],
      list.map((feature) => [feature.name, feature.enabled ? "on" : "off", feature.description]),
      out.painter(1, { on: "green" }),
    );
  });

  for (const [word, enabled] of [
    ["enable", true],
    ["disable", false],
  ] as const) {
    addAppCommand(program, `features:${word} <feature>`, {
      group: "Apps:",
      summary: `switch a feature ${enabled ? "on" : "off"}`,
      examples: [`sluice features:${word} http-session-affinity`],
    }).action(async (name: string, options: AppOptions) => {
      await session.api.patch(session.path(options, "features", name), { enabled });
      out.line(`${name} is ${enabled ? "on" : "off"} for ${session.app(options)}.`);
    });
  }
};
