import type { FastifyRequest } from "fastify";
import type { Config } from "../../config/environment.ts";

/** A host name or address with an optional port; anything else in a Host header is not taken into URLs. */
const HOST = /^([a-z0-9][a-z0-9._-]{0,252}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?$/i;

/** Where the client reached the API: URLs in answers are built on it. */
export function calledBy(request: FastifyRequest, config: Config): { origin: string; hostname: string } {
  // A proxy of the operator's may end TLS in front of us; it only changes what is put into URLs.
  const secure = "encrypted" in request.raw.socket || request.headers["x-forwarded-proto"] === "https";
  const given = HOST.exec(request.headers.host ?? "");
  const port = secure ? config.api.tlsPort : config.api.port;
  const hostname = given?.[1] ?? "127.0.0.1";
  const host = given ? given[0] : `${hostname}:${port}`;
  return { origin: `${secure ? "https" : "http"}://${host}`, hostname };
}
