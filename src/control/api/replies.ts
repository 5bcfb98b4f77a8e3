import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ApiError } from "../errors.ts";
import { isStoreDown, sqlState } from "../store/postgres.ts";

/** Fastify's own errors whose sentence is for the client, with Heroku's ids. */
const KNOWN: Record<string, [status: number, id: string, message: string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [
    413,
    "request_too_large",
    "The body is too large; at most 1 MiB of JSON is taken.",
  ],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    415,
    "unsupported_media_type",
    "Send the body as JSON, with `Content-Type: application/json`.",
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    400,
    "bad_request",
    "The body is not as long as Content-Length says; send it whole.",
  ],
  FST_ERR_BAD_URL: [400, "bad_request", "The path cannot be read; check its percent-encoding."],
};

/** The ApiError that tells a client of `error`; null for one of our own making (500). */
export function apiErrorOf(error: unknown): ApiError | null {
  if (error instanceof ApiError) return error;
  if (isStoreDown(error)) {
    return new ApiError(
      503,
      "store_unavailable",
      "The database is away for a moment; a change that was under way may or may not have been made: try again.",
      { "Retry-After": "1" },
    );
  }
  const refused = refusalOf(sqlState(error));
  if (refused) return refused;
  const { code, validation, message, statusCode } = error as FastifyError;
  if (code === "ENOSPC") return diskFull();
  const known = KNOWN[code ?? ""];
  if (known) return new ApiError(...known);
  if (validation) return new ApiError(422, "invalid_params", sentence(message));
  if (statusCode && statusCode >= 400 && statusCode < 500) {
    return new ApiError(statusCode, "bad_request", sentence(message));
  }
  return null;
}

const diskFull = (): ApiError =>
  new ApiError(503, "disk_full", "The disk is full, so nothing was kept; free some space, then try again.");

/** What a refusal of the store says to the client, by its SQLSTATE (PostgreSQL documentation, appendix A). */
function refusalOf(state: string | null): ApiError | null {
  if (state === "53100") return diskFull();
  if (state === "40001" || state === "40P01" || state === "55P03" || state === "23503") {
    return new ApiError(
      409,
      "conflict",
      "Something else was changed at the same moment; look, then try again.",
    );
  }
  if (state === "22021" || state === "22P05") {
    return new ApiError(400, "bad_request", "The request holds a character that no text can have (NUL).");
  }
  if (state?.startsWith("22")) {
    return new ApiError(422, "invalid_params", "A value is out of the range that can be kept.");
  }
  return null;
}

/** `body/name must be string,null` as a sentence. */
function sentence(message: string): string {
  const field = /^body\/(\S+) (.*)$/s.exec(message);
  const text = field
    ? `The field ${field[1]!.replaceAll("/", ".")} ${field[2]}`
    : message.replace(/^body /, "The body ");
  const plain = text.replace(
    /must be (\w+(?:,\w+)+)$/,
    (_all, types: string) => `must be ${types.split(",").join(" or ")}`,
  );
  return /[.!?]$/.test(plain) ? plain : `${plain}.`;
}

/** Gives every error and every unknown route of `server` Heroku's body. */
export function answerErrors(server: FastifyInstance): void {
  server.setErrorHandler((error: Error, request, reply) => {
    const told = apiErrorOf(error);
    if (told) return sendError(reply, told);
    request.log.error({ err: error, route: request.routeOptions.url }, "a request failed");
    return sendError(
      reply,
      new ApiError(
        500,
        "internal_server_error",
        `Something went wrong in Sluice; its diagnostics have more under request id ${request.id}.`,
      ),
    );
  });
  server.setNotFoundHandler((_request, reply) =>
    sendError(reply, new ApiError(404, "not_found", "The requested API endpoint was not found.")),
  );
}

export function sendError(reply: FastifyReply, error: ApiError): FastifyReply {
  return reply
    .code(error.status)
    .headers(error.headers)
    .type("application/json; charset=utf-8")
    .send({ id: error.id, message: error.message });
}

/** A request whose body never became JSON: said before any handler runs. */
export const unreadableJson = (request: FastifyRequest): ApiError =>
  new ApiError(400, "bad_request", `The body of this ${request.method} is not valid JSON.`);
