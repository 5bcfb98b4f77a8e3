import http from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface Seen {
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
  body: unknown;
}

type Reply = (seen: Seen, response: http.ServerResponse) => void;

/** A server on a free port that answers the calls of one test and keeps what was asked. */
export async function peer(
  t: TestContext,
  replies: Record<string, Reply | object>,
): Promise<{ url: string; seen: Seen[]; env: NodeJS.ProcessEnv }> {
  const seen: Seen[] = [];
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    const one: Seen = {
      method: request.method!,
      path: request.url!,
      headers: request.headers,
      body: text ? JSON.parse(text) : undefined,
    };
    seen.push(one);
    const reply = replies[`${one.method} ${one.path}`];
    if (typeof reply === "function") return void reply(one, response);
    response.setHeader("Content-Type", "application/json");
    response.statusCode = reply ? 200 : 404;
    response.end(JSON.stringify(reply ?? { id: "not_found", message: `There is no ${one.path}.` }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, seen, env: { SLUICE_API_URL: url, SLUICE_API_KEY: "the-key" } };
}
