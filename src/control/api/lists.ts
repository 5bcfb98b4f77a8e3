import type { FastifyReply, FastifyRequest } from "fastify";
import { ApiError } from "../errors.ts";

/*
 * Lists are cut by Heroku's Range header (Platform API reference, "Ranges"):
 *
 *   Range: <field> [[]]<after>..[<last>][; max=N][, order=desc]
 *
 * The CLI writes it loosely: `;` or `,` between the words, with or without a blank, a `;` at the end, or
 * nothing at all. The answer says what it holds in Content-Range, and when it was cut (206) Next-Range is the
 * Range to ask for next.
 */

const DEFAULT_PAGE = 200;
const LARGEST_PAGE = 1000;

export interface ListRange {
  field: string;
  /** Where the list starts, in the order asked for; null: at its beginning. */
  from: string | null;
  /** `from` itself is left out. */
  after: boolean;
  /** Where it ends, itself in it; null: at its end. */
  to: string | null;
  max: number;
  descending: boolean;
}

type Cell = string | number | null | undefined;

const refuse = (fields: readonly string[]): ApiError =>
  new ApiError(
    416,
    "requested_range_not_satisfiable",
    `The Range header cannot be read; write \`Range: ${fields[0]} ..; max=200, order=asc\` with one of: ${fields.join(", ")}.`,
    { "Accept-Ranges": fields.join(", ") },
  );

/**
 * Reads a Range header; `fields` are what the list may be ordered by, the first one by default.
 * @throws ApiError 416 when it cannot be read.
 */
export function parseRange(header: string | undefined, fields: readonly string[]): ListRange {
  const range: ListRange = {
    field: fields[0]!,
    from: null,
    after: false,
    to: null,
    max: DEFAULT_PAGE,
    descending: false,
  };
  const [span, ...options] = (header ?? "").split(/[;,]/).map((part) => part.trim());
  if (span) {
    const read = /^(\w+)\s+(\]?)(.*?)\.\.(.*)$/.exec(span);
    if (!read || !fields.includes(read[1]!)) throw refuse(fields);
    range.field = read[1]!;
    range.after = read[2] === "]";
    range.from = read[3]!.trim() || null;
    range.to = read[4]!.trim() || null;
  }
  for (const option of options) {
    if (!option) continue;
    const [name, value] = option.split("=").map((part) => part.trim());
    if (name === "max" && /^[1-9]\d{0,8}$/.test(value ?? "")) {
      range.max = Math.min(Number(value), LARGEST_PAGE);
    } else if (name === "order" && (value === "asc" || value === "desc")) {
      range.descending = value === "desc";
    } else {
      throw refuse(fields);
    }
  }
  return range;
}

const compare = (a: Cell, b: Cell): number => {
  if (typeof a === "number" || typeof b === "number") return Number(a) - Number(b);
  const x = a ?? "";
  const y = b ?? "";
  return x < y ? -1 : x > y ? 1 : 0;
};

/**
 * Answers `items` as a list, cut and ordered as the request's Range asks.
 * @param fields names of members that the list may be ordered by; the first one is the default.
 */
export function sendList<T extends object>(
  request: FastifyRequest,
  reply: FastifyReply,
  items: readonly T[],
  fields: readonly (keyof T & string)[],
): FastifyReply {
  const range = parseRange(request.headers.range, fields);
  const cell = (item: T): Cell => item[range.field as keyof T] as Cell;
  const sign = range.descending ? -1 : 1;
  const within = items
    .filter((item) => {
      if (range.from !== null) {
        const order = sign * compare(cell(item), range.from);
        if (range.after ? order <= 0 : order < 0) return false;
      }
      return range.to === null || sign * compare(cell(item), range.to) <= 0;
    })
    .sort((a, b) => sign * compare(cell(a), cell(b)));
  const page = within.slice(0, range.max);
  const words = `max=${range.max}${range.descending ? ", order=desc" : ""}`;
  const [first, last] = [page.at(0), page.at(-1)];
  const edge = (item: T | undefined): string => (item ? String(cell(item) ?? "") : "");
  reply.header("Accept-Ranges", fields.join(", "));
  reply.header("Content-Range", `${range.field} ${edge(first)}..${edge(last)}; ${words}`);
  if (page.length < within.length) {
    reply.code(206);
    reply.header("Next-Range", `${range.field} ]${edge(last)}..${range.to ?? ""}; ${words}`);
  }
  return reply.send(page);
}
