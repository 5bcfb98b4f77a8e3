import type { LogSender } from "../wire/log-sender.ts";
import { Source } from "../wire/source.ts";

/** Lines that control itself writes into an app's log. */
export interface AppLog {
  /** `app[api]: <text>` at now, or at `micros` (two lines of one event share a time). A text of several lines gives several. */
  api(app: string, text: string, micros?: number): void;
  /** `heroku[<dyno>]: <text>`, where control alone knows it (`Awaiting client`). */
  platform(app: string, dyno: string, text: string): void;
  /** One line that a dyno printed to control itself (a release phase): `app[<dyno>]: <line>`, without newline. */
  output(app: string, dyno: string, line: Uint8Array): void;
}

/** Microseconds since the epoch, now. */
export const nowMicros = (): number => Date.now() * 1000;

/** Control's lines over its sender to the Logplex; whoever made `sender` closes it. */
export function createAppLog(sender: LogSender): AppLog {
  const write = (app: string, process: string, source: Source, text: string, micros: number): void => {
    for (const line of text.split("\n")) {
      sender.write(sender.app(app), sender.process(process), source, micros, Buffer.from(line, "utf8"));
    }
  };
  return {
    api: (app, text, micros = nowMicros()) => write(app, "api", Source.Api, text, micros),
    platform: (app, dyno, text) => write(app, dyno, Source.Platform, text, nowMicros()),
    output: (app, dyno, line) =>
      sender.write(sender.app(app), sender.process(dyno), Source.Dyno, nowMicros(), line),
  };
}
