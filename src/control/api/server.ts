import http from "node:http";
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from "fastify";
import type { Caller } from "../accounts.ts";
import { type App, findApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { ApiError, badRequest, unauthorized } from "../errors.ts";
import { checkAccept, requestId, speakProtocol } from "./protocol.ts";
import { answerErrors, apiErrorOf, sendError, unreadableJson } from "./replies.ts";
import { checkScope } from "./scopes.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Answered without the API key and without an Accept header (design section 12 lists these). */
    open?: boolean;
    /** Needs the key, but no Accept header: not part of Heroku's API. */
    plain?: boolean;
  }
  interface FastifyRequest {
    /** Who sent it; null only on open routes. */
    caller: Caller | null;
  }
}

/** Bytes of a JSON body; config vars, the largest that is sent, may have 64 KB. */
const JSON_LIMIT = 1024 * 1024;
/** Methods that X-Http-Method-Override may put in POST's place. */
const OVERRIDES = new Set(["GET", "PUT", "PATCH", "DELETE"]);

/** What a resource file exports as `register`: adds its routes. */
export type Register = (server: FastifyInstance, control: Control) => void;

/**
 * The API with its resources, ready to be injected into or to be given connections; it binds no port itself.
 * Routes need the key and `Accept: …; version=3` unless their config says `open` or `plain`.
 */
export async function makeServer(
  control: Control,
  resources: readonly Register[],
): Promise<{ server: FastifyInstance; handler: http.RequestListener }> {
  let handler: http.RequestListener = () => {};
  const server = Fastify({
    loggerInstance: control.log.child({ part: "api" }),
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: (request) => requestId(request.headers["request-id"]),
    bodyLimit: JSON_LIMIT,
    // One handler serves the plain and the TLS port (listeners.ts).
    serverFactory: (handle) => {
      handler = (request, response) => {
        const override = String(request.headers["x-http-method-override"] ?? "").toUpperCase();
        if (request.method === "POST" && OVERRIDES.has(override)) request.method = override;
        handle(request, response);
      };
      return http.createServer(handler);
    },
    routerOptions: { maxParamLength: 4096 },
    // What fails before there is a route, such as a path that cannot be read.
    frameworkErrors: (error, request, reply) =>
      void sendError(
        reply.header("Request-Id", request.id) as unknown as FastifyReply,
        apiErrorOf(error) ?? badRequest("This request cannot be read."),
      ),
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allowUnionTypes: true } },
    forceCloseConnections: true,
  }) as unknown as FastifyInstance;
  server.decorateRequest("caller", null);
  answerErrors(server);
  speakProtocol(server);
  server.addHook("onRequest", async (request, reply) => {
    const { open, plain } = request.routeOptions.config;
    if (open) return;
    request.caller = await control.accounts.authenticate(request.headers.authorization);
    if (!request.caller) throw unauthorized();
    // Without the key nobody learns which endpoints there are.
    if (request.is404) return;
    checkRate(control, request.caller, reply);
    if (!plain) checkAccept(request);
    checkScope(request, request.caller);
  });
  readJson(server);
  for (const register of resources) register(server, control);
  await server.ready();
  return { server, handler: (request, response) => handler(request, response) };
}

/** Heroku's rate limit; asking how much is left is free. @throws ApiError 429 */
function checkRate({ rate }: Control, caller: Caller, reply: FastifyReply): void {
  const { url } = reply.routeOptions;
  const free = url === "/account/rate-limits" || url === "/metrics";
  const taken = free || rate.take(caller.id);
  reply.header("RateLimit-Remaining", String(rate.remaining(caller.id)));
  if (taken) return;
  throw new ApiError(429, "rate_limit", "Too many requests in a short time; wait a second, then go on.", {
    "Retry-After": "1",
  });
}

/** JSON in, whatever the Content-Type says; no body is none. */
function readJson(server: FastifyInstance): void {
  const parse = server.getDefaultJsonParser("error", "error");
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(["application/json", "*"], { parseAs: "string" }, (request, body, done) => {
    if (body === "") return done(null, undefined);
    parse(request, body as string, (error, value) =>
      error ? done(unreadableJson(request), undefined) : done(null, value),
    );
  });
}

/**
 * Within a scope of its own (`server.register(async (scope) => { … })`): bodies are not read but handed on as
 * streams in `request.body`, of any type and length. For git, archives and log input.
 */
export function rawBodies(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  // Heroku's clients put archives with an empty Content-Type, which is none that Fastify can read.
  scope.addHook("onRequest", async (request) => {
    if (request.headers["content-type"] === "") request.headers["content-type"] = "application/octet-stream";
  });
  scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
}

/** The app that the path names in `:app`. @throws ApiError 404 */
export function appOf(control: Control, request: FastifyRequest): Promise<App> {
  return findApp(control.store.pool, (request.params as { app: string }).app);
}

/** Who sent this request; routes with the key always have one. */
export function callerOf(request: FastifyRequest): Caller {
  if (!request.caller) throw unauthorized();
  return request.caller;
}
