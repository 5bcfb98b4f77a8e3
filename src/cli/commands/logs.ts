import { type AppOptions, addAppCommand, type Noun, parseCount } from "../command.ts";
import type { Colour } from "../output.ts";
import type { Session } from "../session.ts";

interface LogOptions extends AppOptions {
  num: number;
  tail?: boolean;
  source?: string;
  ps?: string;
}

const COLOURS: readonly Colour[] = ["cyan", "yellow", "green", "magenta", "blue"];

/** A tail whose stream ended is opened anew after this long, so that a server that restarts is waited for. */
const REOPEN_MS = 1000;
const MAX_REOPENS = 60;

/** The part of a line before its text, in a colour of its process: `2026-…+00:00 app[web.1]:`. */
function paintLine(session: Session, line: string): string {
  const head = /^\S+ [\w.-]+\[([^\]]*)\]:/.exec(line);
  if (!head) return line;
  let hash = 0;
  for (const letter of head[1]!) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return session.out.paint(COLOURS[hash % COLOURS.length]!, head[0]) + line.slice(head[0].length);
}

async function openLog(session: Session, options: LogOptions) {
  const { logplex_url } = await session.api.post<{ logplex_url: string }>(
    session.path(options, "log-sessions"),
    {
      lines: options.num,
      tail: options.tail ?? false,
      ...(options.source ? { source: options.source } : {}),
      ...(options.ps ? { dyno: options.ps } : {}),
    },
  );
  return session.api.stream(logplex_url);
}

/**
 * Prints one log session to its end. When it goes on after an earlier one, `last` is the line printed last: what
 * is replayed up to it is left out.
 * @returns the line printed last.
 */
async function printLog(session: Session, options: LogOptions, last: string): Promise<string> {
  const stream = await openLog(session, options);
  stream.setEncoding("utf8");
  let replayed: string[] | null = last ? [] : null;
  let rest = "";
  const print = (line: string): void => {
    if (!line) return;
    last = line;
    session.out.line(paintLine(session, line));
  };
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      if (replayed) {
        replayed.push(...lines);
        const seen = replayed.lastIndexOf(last);
        if (seen < 0 && replayed.length < options.num) continue;
        lines.splice(0, lines.length, ...replayed.slice(seen + 1));
        replayed = null;
      }
      for (const line of lines) print(line);
    }
  } catch {
    // Broken off: as an end.
  }
  for (const line of replayed ?? []) print(line);
  print(rest);
  return last;
}

export const logs: Noun = (program, session) => {
  addAppCommand(program, "logs", {
    group: "Logs:",
    summary: "show the newest lines of the app's log, or follow it",
    more: "Lines are kept in a ring of 1,500 an app; drains take them elsewhere for good.",
    examples: [
      "sluice logs --tail",
      "sluice logs -n 500 --ps web",
      "sluice logs --source heroku --ps router",
    ],
  })
    .option("-n, --num <lines>", "how many lines", parseCount, 100)
    .option("-t, --tail", "go on with new lines as they come")
    .option("-s, --source <source>", "only this source: app or heroku")
    .option("-p, --ps <name>", "only this dyno or process type")
    .option("--dyno-name <dyno>", "the same as --ps")
    .action(async (options: LogOptions & { dynoName?: string }) => {
      const wanted = { ...options, ps: options.ps ?? options.dynoName };
      let last = await printLog(session, wanted, "");
      for (let tries = 0; options.tail && tries < MAX_REOPENS; tries++) {
        await new Promise((resolve) => setTimeout(resolve, REOPEN_MS));
        try {
          last = await printLog(session, wanted, last);
          tries = 0;
        } catch (error) {
          if (tries === MAX_REOPENS - 1) throw error;
        }
      }
    });
};
