import { addCommand, type Noun } from "../command.ts";
import { answerGit } from "../credentials.ts";

/** The command in the help; src/main.ts takes git's own calls a shorter way. */
export const gitCredentials: Noun = (program, session) => {
  addCommand(program, "git-credentials <operation>", {
    group: "Access:",
    summary: "answer git, which asks for the key to push with",
    more: "`sluice create` sets this up as the credential helper of a repository; git alone calls it.",
    examples: ["printf 'protocol=http\\nhost=127.0.0.1:5000\\n' | sluice git-credentials get"],
    aliases: ["git:credentials"],
  }).action(async (operation: string) => {
    session.status = await answerGit(operation);
  });
};
