import type { PartName } from "./part.ts";

/*
 * The one program behind every process of Sluice: `up` is the supervisor of one machine, `edge`, `logplex`,
 * `control` and `host` are one part alone, everything else is the command line. What is not asked for is not
 * loaded: a command starts without any server code, and an edge worker holds no code of control.
 */
const [command, ...rest] = process.argv.slice(2);

const PARTS: readonly PartName[] = ["edge", "logplex", "control", "host"];

if (command === "up") {
  const { up } = await import("./supervisor/up.ts");
  await up(rest);
} else if (PARTS.includes(command as PartName)) {
  const { runPart } = await import("./part.ts");
  await runPart(command as PartName, rest);
} else if (command === "git-credentials" && rest.length === 1 && !rest[0]!.startsWith("-")) {
  const { answerGit } = await import("./cli/credentials.ts");
  process.exitCode = await answerGit(rest[0]!);
} else {
  const { runCli } = await import("./cli/cli.ts");
  process.exitCode = await runCli(process.argv.slice(2));
}
