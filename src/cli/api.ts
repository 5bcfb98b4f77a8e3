import http from "node:http";
import https from "node:https";
import tls from "node:tls";
import { ApiFailure, Failure } from "./failure.ts";
import { readCa, type Target } from "./target.ts";

/** An answer takes at most this long to go on: `run` waits for its dyno, nothing else is slow. */
const IDLE_MS = 120_000;

/** An answer of the API is never larger; more is not read into memory. */
const MAX_ANSWER = 64 * 1024 * 1024;

interface Call {
  method: string;
  body?: unknown;
  headers?: Record<string, string>;
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: unknown;
}

/** A client of the Platform API v3 (contract section 7): JSON both ways, errors thrown as one sentence. */
export class Api {
  readonly target: Target;
  readonly #agents: { http: http.Agent; https: https.Agent };

  constructor(target: Target) {
    this.target = target;
    const ca = readCa(target);
    this.#agents = {
      http: new http.Agent({ keepAlive: true }),
      https: new https.Agent({ keepAlive: true, ca: ca ? [...tls.rootCertificates, ca] : undefined }),
    };
  }

  async get<T>(path: string): Promise<T> {
    return (await this.#call(path, { method: "GET" })).body as T;
  }

  /** A whole list, page after page; with `range` (`version ..; max=15, order=desc`) only that page. */
  async list<T>(path: string, range?: string): Promise<T[]> {
    const items: T[] = [];
    let next: string | undefined = range;
    for (;;) {
      const answer = await this.#call(path, {
        method: "GET",
        headers: next === undefined ? {} : { Range: next },
      });
      items.push(...(answer.body as T[]));
      next = answer.headers["next-range"] as string | undefined;
      if (next === undefined || range !== undefined) return items;
    }
  }

  async post<T>(path: string, body?: unknown): Promise<T> {
    return (await this.#call(path, { method: "POST", body })).body as T;
  }

  async patch<T>(path: string, body: unknown): Promise<T> {
    return (await this.#call(path, { method: "PATCH", body })).body as T;
  }

  async put<T>(path: string, body: unknown): Promise<T> {
    return (await this.#call(path, { method: "PUT", body })).body as T;
  }

  async delete(path: string): Promise<void> {
    await this.#call(path, { method: "DELETE" });
  }

  /** `GET /health`, which answers 503 when a part is down, with the same body. */
  async health(): Promise<{ status: string; parts: Record<string, string> }> {
    const answer = await this.#call("/health", { method: "GET" }, [503]);
    return answer.body as { status: string; parts: Record<string, string> };
  }

  /** The text behind a URL that carries its own right (a log session, a build's output); no key is sent. */
  async stream(url: string): Promise<http.IncomingMessage> {
    const response = await this.#send(new URL(url), { Accept: "text/plain" }, "GET", undefined, 0);
    if (response.statusCode === 200) return response;
    response.resume();
    throw new ApiFailure(
      response.statusCode ?? 0,
      "stream",
      response.statusCode === 404
        ? "There is no output (any more)."
        : `The stream could not be opened: the server answered ${response.statusCode}.`,
    );
  }

  async #call(path: string, call: Call, alsoGood: readonly number[] = []): Promise<Answer> {
    const body = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const response = await this.#send(
      new URL(path, this.target.url),
      {
        Accept: "application/vnd.heroku+json; version=3",
        Authorization: `Bearer ${this.target.key}`,
        ...(body ? { "Content-Type": "application/json" } : {}),
        ...call.headers,
      },
      call.method,
      body,
      IDLE_MS,
    );
    const status = response.statusCode ?? 0;
    const text = await this.#text(response);
    let value: unknown = {};
    try {
      if (text) value = JSON.parse(text);
    } catch {
      throw new Failure(`${this.target.url} does not answer like a Sluice (status ${status}, no JSON).`);
    }
    if ((status >= 200 && status < 300) || alsoGood.includes(status)) {
      return { status, headers: response.headers, body: value };
    }
    const { id, message } = value as { id?: string; message?: string };
    if (status === 401) {
      throw new ApiFailure(
        401,
        "unauthorized",
        `${this.target.url} refuses the API key; log in anew with \`sluice login ${this.target.url}\`.`,
      );
    }
    throw new ApiFailure(status, id ?? "unknown", message ?? `${this.target.url} answered ${status}.`);
  }

  async #text(response: http.IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > MAX_ANSWER) throw new Failure(`${this.target.url} answers more than this command takes.`);
        chunks.push(chunk);
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure(`The connection to ${this.target.url} broke before the answer was whole.`);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  #send(
    url: URL,
    headers: Record<string, string>,
    method: string,
    body: Buffer | undefined,
    idleMs: number,
  ): Promise<http.IncomingMessage> {
    const secure = url.protocol === "https:";
    return new Promise((resolve, reject) => {
      const request = (secure ? https : http).request(
        url,
        {
          method,
          agent: secure ? this.#agents.https : this.#agents.http,
          headers: {
            "User-Agent": "sluice-cli",
            ...headers,
            ...(body ? { "Content-Length": String(body.length) } : {}),
          },
        },
        resolve,
      );
      if (idleMs > 0) {
        request.setTimeout(idleMs, () =>
          request.destroy(new Failure(`${url.origin} has not answered for ${idleMs / 1000} s.`)),
        );
      }
      request.on("error", (error) => reject(error instanceof Failure ? error : unreachable(url, error)));
      request.end(body);
    });
  }
}

/** One sentence for a connection that could not be made. */
export function unreachable(url: URL, error: NodeJS.ErrnoException): Failure {
  const code = error.code ?? "";
  if (code === "ECONNREFUSED") {
    return new Failure(
      `Nothing answers at ${url.origin}: start Sluice there with \`npm start\`, or name another with SLUICE_API_URL or \`sluice login URL\`.`,
    );
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return new Failure(`There is no machine called ${url.hostname} (${code}).`);
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/.test(code)) {
    return new Failure(
      `The certificate of ${url.host} is not trusted (${code}): name the CA's file by SLUICE_CA or \`sluice login --ca FILE URL\`.`,
    );
  }
  if (code === "EPROTO") return new Failure(`${url.host} does not speak TLS; use http:// for that port.`);
  return new Failure(`${url.origin} cannot be reached (${code || error.message}).`);
}
