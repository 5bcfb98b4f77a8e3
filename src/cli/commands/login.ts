import path from "node:path";
import { createInterface } from "node:readline";
import { writeClientSettings } from "../../config/client.ts";
import { Api } from "../api.ts";
import { addCommand, type JsonOption, type Noun } from "../command.ts";
import { Failure } from "../failure.ts";
import { baseUrl, settingsFile, type Target } from "../target.ts";

/** A key is one line; more than this is not a key. */
const MAX_KEY = 4096;

/** Asks for a line without showing it; reads it from a pipe when there is no terminal. */
async function askSecret(question: string): Promise<string> {
  const input = process.stdin;
  if (!input.isTTY) {
    let text = "";
    for await (const chunk of input) {
      text += chunk;
      if (text.includes("\n") || text.length > MAX_KEY) break;
    }
    return text.split("\n", 1)[0]!.trim();
  }
  const lines = createInterface({ input, output: process.stderr, terminal: true });
  // readline echoes through this: what is typed is not shown.
  (lines as unknown as { _writeToOutput(text: string): void })._writeToOutput = (text) => {
    if (text.includes(question)) process.stderr.write(question);
  };
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.on("SIGINT", () => reject(new Failure("Not logged in.")));
      lines.question(question, (answer) => resolve(answer.trim()));
    });
  } finally {
    lines.close();
    process.stderr.write("\n");
  }
}

export const login: Noun = (program, session) => {
  addCommand(program, "login <url>", {
    group: "Access:",
    summary: "log in to a Sluice with its API key",
    more: `The key is asked for, or read from a pipe. It is kept with the URL in ~/.config/sluice/config.json (mode 0600).
On the machine of the Sluice itself \`npm start\` has done this already.`,
    examples: [
      "sluice login http://127.0.0.1:5000",
      "sluice login --ca ca.pem https://sluice.example.com:5443 < key",
    ],
    aliases: ["auth:login"],
  })
    .option("--ca <file>", "certificate of the private CA ($SLUICE_HOME/ca.pem of that Sluice)")
    .action(async (text: string, options: { ca?: string }) => {
      const url = baseUrl(text, "The URL");
      const ca = options.ca ? path.resolve(session.cwd, options.ca) : session.env.SLUICE_CA || null;
      const key = await askSecret(`API key of ${url}: `);
      if (!key || key.length > MAX_KEY) throw new Failure("No API key was given; nothing is changed.");
      const target: Target = { url, key, ca, tlsUrl: url };
      const account = await new Api(target).get<{ email: string }>("/account");
      const file = settingsFile(session.env);
      writeClientSettings(file, {
        url,
        key,
        ...(ca ? { ca } : {}),
        ...(url.startsWith("https:") ? { tlsUrl: url } : {}),
      });
      session.out.line(`Logged in to ${url} as ${account.email}.`);
    });

  addCommand(program, "whoami", {
    group: "Access:",
    summary: "show whose key is used, and with which Sluice",
    examples: ["sluice whoami"],
    aliases: ["auth:whoami"],
  })
    .option("--json", "print the API's answer as JSON")
    .action(async (options: JsonOption) => {
      const account = await session.api.get<{ email: string }>("/account");
      if (options.json) session.out.json(account);
      else session.out.line(`${account.email} at ${session.target.url}`);
    });
};
