import type { Command } from "commander";
import { GROUPS, type Noun } from "./command.ts";

/** The help of every command as one Markdown page: docs/cli.md is made by it and tested against it. */
export function manualText(program: Command): string {
  const lines = [
    "# The sluice command",
    "",
    "Made from `sluice --help` by `npx sluice manual > docs/cli.md`; do not edit by hand.",
  ];
  for (const group of GROUPS) {
    lines.push("", `## ${group.slice(0, -1)}`);
    for (const command of program.commands) {
      if (command.helpGroup() !== group) continue;
      let text = "";
      command.configureOutput({
        ...command.configureOutput(),
        writeOut: (part) => (text += part),
        getOutHelpWidth: () => 100,
      });
      command.outputHelp();
      lines.push("", `### ${command.name()}`, "", "```", text.trimEnd(), "```");
    }
  }
  return lines.join("\n");
}

export const manual: Noun = (program, session) => {
  program
    .command("manual", { hidden: true })
    .description("print the help of every command as Markdown")
    .action(() => session.out.line(manualText(program)));
};
