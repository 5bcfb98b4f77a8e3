import { SOURCES } from "../wire/source.ts";
import type { ProcessNames } from "./process-names.ts";
import type { Ring } from "./ring.ts";
import { STAMP_LENGTH, stampText, writeStamp } from "./time-stamp.ts";

const NEWLINE = 10;
const RETURN = 13;
const SPACE = 32;
const APP_NAMES = SOURCES.map(({ appName }) => Buffer.from(` ${appName}[`));
const CLOSE = Buffer.from("]: ");
const DATA = "\ndata: ";

/** Bytes of a shown line besides its text and process name, at most. */
const FRAME_MOST = STAMP_LENGTH + 80;

/** `2026-11-24T14:00:00.123456+00:00 app[web.1]: text`: one line of a log session, or one event of it. */
export interface SessionLine {
  /** Bytes that line `number` takes at most. */
  most(ring: Ring, number: number): number;
  /** Writes line `number` at `at`; returns the offset behind it. */
  write(ring: Ring, number: number, out: Buffer, at: number): number;
  /** A line of the session's own, which stands in no ring. */
  own(text: string, micros: number): Buffer;
}

/**
 * @param eventId the id of line n for text/event-stream (`id: N\ndata: line\n\n`); null for plain lines
 */
export function sessionLine(names: ProcessNames, eventId: ((line: number) => number) | null): SessionLine {
  const start = (out: Buffer, at: number, line: number): number =>
    eventId ? at + out.write(`id: ${eventId(line)}${DATA}`, at, "latin1") : at;
  const finish = (out: Buffer, at: number): number => {
    out[at] = NEWLINE;
    if (!eventId) return at + 1;
    out[at + 1] = NEWLINE;
    return at + 2;
  };
  return {
    most: (ring, number) =>
      FRAME_MOST + ring.record(number).length + names.bytes(ring.process(number)).length,
    write(ring, number, out, from) {
      let at = start(out, from, number);
      writeStamp(out, at, ring.micros(number));
      at += STAMP_LENGTH;
      const app = APP_NAMES[ring.source(number)]!;
      out.set(app, at);
      at += app.length;
      const name = names.bytes(ring.process(number));
      out.set(name, at);
      at += name.length;
      out.set(CLOSE, at);
      at += CLOSE.length;
      const text = ring.text(number);
      // A line break inside a line would begin another line, and with it feign another source.
      for (let i = 0; i < text.length; i += 1) {
        const byte = text[i]!;
        out[at + i] = byte === NEWLINE || byte === RETURN ? SPACE : byte;
      }
      return finish(out, at + text.length);
    },
    own(text, micros) {
      const line = `${stampText(micros)} heroku[logplex]: ${text}\n`;
      return Buffer.from(eventId ? `data: ${line}\n` : line);
    },
  };
}
