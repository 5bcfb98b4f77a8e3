import { createHash, randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ApiError, notFound } from "../errors.ts";

/*
 * What every answer of the API has in common (contract, section 7): the version in Accept, Request-Id,
 * ETag with If-None-Match and If-Match, Last-Modified, open CORS.
 */

/** `application/vnd.heroku+json; version=3`, with any variant after a dot, among other types. */
const VERSION_3 = /application\/vnd\.heroku\+json\s*;\s*version=3(\.[\w-]+)?\s*(;|,|$)/i;
/** What a client may send as its own Request-Id. */
const CLIENT_ID = /^[\w-]{20,128}$/;
const CLIENT_IDS = 10;
const SHOWN_HEADERS =
  "Accept-Ranges, Content-Range, ETag, Last-Modified, Next-Range, RateLimit-Remaining, Request-Id, Warning-Message";

/** The request's id: what the client sent, and ours behind it. */
export function requestId(header: string | string[] | undefined): string {
  const own = randomUUID();
  if (!header) return own;
  const given = String(header)
    .split(",")
    .map((id) => id.trim())
    .filter((id) => CLIENT_ID.test(id))
    .slice(0, CLIENT_IDS);
  return [...given, own].join(",");
}

/** @throws ApiError 406 when the request does not ask for version 3 of the API. */
export function checkAccept(request: FastifyRequest): void {
  if (VERSION_3.test(request.headers.accept ?? "")) return;
  throw new ApiError(
    406,
    "not_acceptable",
    "Send the header `Accept: application/vnd.heroku+json; version=3`.",
  );
}

/** A time as the API writes it: `2012-01-01T12:00:00Z`. */
export function time(date: Date): string;
export function time(date: Date | null): string | null;
export function time(date: Date | null): string | null {
  return date && `${date.toISOString().slice(0, 19)}Z`;
}

/** Adds the common headers to `server`'s answers. */
export function speakProtocol(server: FastifyInstance): void {
  server.addHook("onRequest", async (request, reply) => {
    reply.header("Request-Id", request.id);
    reply.header("Access-Control-Allow-Origin", "*");
    reply.header("Access-Control-Expose-Headers", SHOWN_HEADERS);
    reply.header("X-Content-Type-Options", "nosniff");
    if (request.method === "OPTIONS" && request.headers["access-control-request-method"]) {
      reply.header("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
      reply.header("Access-Control-Max-Age", "600");
      const asked = request.headers["access-control-request-headers"];
      if (asked) reply.header("Access-Control-Allow-Headers", asked);
      await reply.code(204).send();
    }
  });
  server.addHook("preHandler", (request) => checkIfMatch(server, request));
  server.addHook("preSerialization", async (_request, reply, payload) => {
    const changed = (payload as { updated_at?: unknown } | null)?.updated_at;
    if (typeof changed === "string" && !reply.hasHeader("Last-Modified")) {
      reply.header("Last-Modified", new Date(changed).toUTCString());
    }
    return payload;
  });
  server.addHook("onSend", async (request, reply, payload) => tag(request, reply, payload));
}

const etagOf = (body: string): string => `"${createHash("sha1").update(body).digest("hex")}"`;

/** Gives JSON answers of GET their ETag, and 304 when the client has just that. */
function tag(request: FastifyRequest, reply: FastifyReply, payload: unknown): unknown {
  if (request.method !== "GET" && request.method !== "HEAD") return payload;
  if (typeof payload !== "string" || (reply.statusCode !== 200 && reply.statusCode !== 206)) return payload;
  const etag = etagOf(payload);
  reply.header("ETag", etag);
  if (!lists(request.headers["if-none-match"], etag)) return payload;
  reply.code(304);
  reply.removeHeader("Content-Length");
  reply.removeHeader("Content-Type");
  return null;
}

/** RFC 9110, 13.1: a list of entity tags, or `*`; a weak one is equal for our purpose. */
function lists(header: string | undefined, etag: string): boolean {
  if (!header) return false;
  return header.split(",").some((given) => given.trim() === "*" || given.trim().replace(/^W\//, "") === etag);
}

/** `If-Match` on a change: 412 when what the client saw is no longer what is there. */
async function checkIfMatch(server: FastifyInstance, request: FastifyRequest): Promise<void> {
  const wanted = request.headers["if-match"];
  if (!wanted || request.method === "GET" || request.method === "HEAD") return;
  const now = await server.inject({
    method: "GET",
    url: request.url,
    headers: {
      accept: request.headers.accept ?? "",
      authorization: request.headers.authorization ?? "",
      // URLs in the answer, and so its tag, hang on where the client called.
      host: request.headers.host ?? "",
      "x-forwarded-proto": "encrypted" in request.raw.socket ? "https" : "http",
    },
  });
  if (now.statusCode === 404) throw notFound("resource");
  if (now.statusCode < 300 && lists(wanted, String(now.headers.etag))) return;
  throw new ApiError(
    412,
    "precondition_failed",
    "It was changed since you read it; read it again, then repeat the change.",
  );
}
