import type { FastifyRequest } from "fastify";
import type { Caller } from "../accounts.ts";
import { ApiError } from "../errors.ts";

/** What a token may be made for (Heroku's OAuth scopes). */
export const SCOPES = ["global", "identity", "read", "write", "read-protected", "write-protected"] as const;

/** Holds config vars, or makes tokens that could read them. */
const PROTECTED = /config-vars|\/oauth\/|\/addons|log-drains|\/slugs|\/dynos$/;
const ACCOUNT = /^\/account(\/|$)|^\/oauth\//;

/**
 * Lets a caller through when one of its token's scopes covers the request.
 * @throws ApiError 403 that names what the token lacks.
 */
export function checkScope(request: FastifyRequest, caller: Caller): void {
  const path = request.routeOptions.url ?? "";
  const reading = request.method === "GET" || request.method === "HEAD";
  const allowed = caller.scope.some((scope) => {
    if (scope === "global") return true;
    if (path === "/account" && reading) return true;
    if (ACCOUNT.test(path) || scope === "identity") return false;
    if (PROTECTED.test(path) && !scope.endsWith("-protected")) return false;
    return scope.startsWith("write") || reading;
  });
  if (allowed) return;
  throw new ApiError(
    403,
    "forbidden",
    `This token has the scope ${caller.scope.join(", ")}, which does not cover this; use one with the scope global.`,
  );
}
