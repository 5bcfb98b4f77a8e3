import { type AppOptions, addAppCommand, type Noun } from "../command.ts";

export const maintenance: Noun = (program, session) => {
  const { out } = session;

  addAppCommand(program, "maintenance", {
    group: "Apps:",
    summary: "show whether the app is in maintenance: visitors get a page in its place",
    examples: ["sluice maintenance"],
  }).action(async (options: AppOptions) => {
    const app = await session.api.get<{ maintenance: boolean }>(session.path(options));
    out.line(app.maintenance ? "on" : "off");
  });

  for (const word of ["on", "off"] as const) {
    addAppCommand(program, `maintenance:${word}`, {
      group: "Apps:",
      summary: word === "on" ? "show visitors the maintenance page" : "let visitors in again",
      examples: [`sluice maintenance:${word}`],
    }).action(async (options: AppOptions) => {
      await session.api.patch(session.path(options), { maintenance: word === "on" });
      out.line(`Maintenance is ${word} for ${session.app(options)}.`);
    });
  }
};
