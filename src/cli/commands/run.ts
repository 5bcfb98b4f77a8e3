import { attach } from "../attach.ts";
import { type AppOptions, addAppCommand, type Noun } from "../command.ts";
import { Failure } from "../failure.ts";
import { shellQuoted } from "../shell.ts";
import { readCa } from "../target.ts";

interface Dyno {
  id: string;
  name: string;
  attach_url: string | null;
}

interface RunOptions extends AppOptions {
  detached?: boolean;
  tty: boolean;
  size?: string;
  env?: Record<string, string>;
}

/** One word is a command line as it stands (`"rake db:migrate && echo done"`); several are quoted one by one. */
export const commandLine = (words: readonly string[]): string =>
  words.length === 1 ? words[0]! : words.map(shellQuoted).join(" ");

const collect = (pair: string, before: Record<string, string> = {}): Record<string, string> => {
  const at = pair.indexOf("=");
  if (at < 1) throw new Failure(`"${pair}" is not NAME=VALUE.`, 2);
  return { ...before, [pair.slice(0, at)]: pair.slice(at + 1) };
};

export const run: Noun = (program, session) => {
  const { out } = session;

  addAppCommand(program, "run <command...>", {
    group: "Processes:",
    summary: "run a command in a one-off dyno, with this terminal; its exit status is passed on",
    more: `Options of sluice stand before the command. What is piped in is the command's input; without a terminal on both
sides the dyno gets none, and a byte 0x04 in its input ends it. Ctrl-C goes to the command; four in a second leave it.`,
    examples: [
      "sluice run bash",
      "sluice run -a hello node -e 'console.log(process.version)'",
      "echo 'select 1' | sluice run 'psql $DATABASE_URL'",
      "sluice run --detached rake db:migrate",
    ],
    aliases: ["console"],
  })
    .option("-d, --detached", "do not wait: the output goes to the app's log")
    .option("--no-tty", "give the command no terminal")
    .option("-s, --size <size>", "size of the dyno")
    .option(
      "-e, --env <name=value>",
      "environment variable for this dyno alone (again for more)",
      collect,
      {},
    )
    .passThroughOptions()
    .action(async (words: string[], options: RunOptions) => {
      const { stdin, stdout } = process;
      const terminal = options.tty && !options.detached && stdin.isTTY === true && stdout.isTTY === true;
      const dyno = await session.api.post<Dyno>(session.path(options, "dynos"), {
        command: commandLine(words),
        attach: !options.detached,
        ...(options.size ? { size: options.size } : {}),
        ...(options.detached ? {} : { exit_status: true }),
        ...(terminal || options.detached ? {} : { force_no_tty: true }),
        env: {
          ...(session.env.TERM ? { TERM: session.env.TERM } : {}),
          ...(terminal ? { COLUMNS: String(stdout.columns), LINES: String(stdout.rows) } : {}),
          ...options.env,
        },
      });
      if (options.detached) {
        out.line(`Running on ${session.app(options)} as ${dyno.name}.`);
        out.hint(`See what it prints: sluice logs --tail --ps ${dyno.name}`);
        return;
      }
      if (!dyno.attach_url) throw new Failure(`${dyno.name} runs, but cannot be attached to.`);
      out.hint(`Running on ${session.app(options)} as ${dyno.name}.`);
      const path = session.path(options, "dynos", dyno.name);
      const status = await attach({
        url: dyno.attach_url,
        ca: readCa(session.target),
        terminal,
        output: out,
        // The window is a nicety: a server that cannot change it lets the old size stand.
        onResize: (columns, lines) => void session.api.patch(path, { columns, lines }).catch(() => {}),
      });
      if (status === null) throw new Failure(`${dyno.name} ended without telling an exit status.`);
      session.status = status;
    });
};
