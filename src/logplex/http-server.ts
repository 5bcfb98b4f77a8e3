import http from "node:http";
import { type OutsideCounts, OutsideStream } from "./ingest/outside.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./streams.ts";

const SESSION_PATH = "/sessions/";
const HEADERS_MS = 10_000;
const REQUEST_MS = 60_000;

function answer(
  response: http.ServerResponse,
  status: number,
  text: string,
  headers: http.OutgoingHttpHeaders = {},
) {
  response
    .writeHead(status, { "content-type": "text/plain; charset=utf-8", ...headers })
    .end(text && `${text}\n`);
}

/** The password of basic auth; null when there is none. */
function passwordOf(request: http.IncomingMessage): string | null {
  const header = request.headers.authorization ?? "";
  if (!/^basic /i.test(header)) return null;
  const text = Buffer.from(header.slice(6), "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? null : text.slice(colon + 1);
}

/** `POST /logs`: octet-counted syslog messages, the token as password of basic auth. */
function takeLogs(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  streams: Streams,
  counts: OutsideCounts,
) {
  const token = passwordOf(request);
  const source = token === null ? undefined : streams.byToken(token);
  if (!source) {
    answer(response, 401, "Give the token of a log source as the password of basic auth.", {
      "www-authenticate": 'Basic realm="log source"',
      connection: "close",
    });
    return;
  }
  const input = new OutsideStream(streams, counts, source);
  const refuse = (): void => {
    const text = `The body must be syslog messages, each as LENGTH SPACE MESSAGE; ${input.taken} lines were taken, ${input.bad} messages were not.`;
    answer(response, 400, text, { connection: "close" });
  };
  request.on("data", (chunk: Buffer) => {
    if (response.headersSent || input.push(chunk)) return;
    refuse();
    request.resume();
  });
  request.on("end", () => {
    if (response.headersSent) return;
    if (input.cut) input.broken();
    if (input.bad > 0) refuse();
    else response.writeHead(204).end();
  });
  request.on("error", () => response.destroy());
}

/** The Logplex's HTTP: log sessions out, outside log sources in. Not yet listening. */
export function httpServer(streams: Streams, sessions: () => Sessions, counts: OutsideCounts): http.Server {
  const server = http.createServer((request, response) => {
    response.on("error", () => response.destroy());
    const path = (request.url ?? "").split("?")[0]!;
    if (path.startsWith(SESSION_PATH)) {
      if (request.method === "GET") sessions().serve(path.slice(SESSION_PATH.length), request, response);
      else answer(response, 405, "A log session is read with GET.", { allow: "GET", connection: "close" });
    } else if (path === "/logs") {
      if (request.method === "POST") takeLogs(request, response, streams, counts);
      else answer(response, 405, "Log lines are sent with POST.", { allow: "POST", connection: "close" });
    } else {
      answer(response, 404, "Here are only /sessions/<token> and /logs.", { connection: "close" });
    }
  });
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  return server;
}
