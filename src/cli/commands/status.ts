import { addCommand, type JsonOption, type Noun } from "../command.ts";
import { Failure } from "../failure.ts";

export const status: Noun = (program, session) => {
  const { out } = session;
  addCommand(program, "status", {
    group: "Access:",
    summary: "show whether each part of Sluice is up; exit status 1 when one is down",
    examples: ["sluice status", "sluice status --json"],
  })
    .option("--json", "print the API's answer as JSON")
    .action(async (options: JsonOption) => {
      const health = await session.api.health();
      if (options.json) out.json(health);
      else {
        const paint = out.painter(1, { up: "green", down: "red" });
        out.table(["PART", "STATE"], Object.entries(health.parts), paint);
      }
      const down = Object.keys(health.parts).filter((part) => health.parts[part] !== "up");
      if (down.length > 0) throw new Failure(`Down at ${session.target.url}: ${down.join(", ")}.`);
    });
};
