import http from "node:http";

/** One request that is not answered by then is lost. */
const LOST_MS = 30_000;

export interface LoadResult {
  sent: number;
  lost: string[];
}

export interface Target {
  host: string;
  port: number;
  /** Host header. */
  name: string;
}

/** One GET on a connection of its own: status and body. */
export function get(target: Target): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get(
      {
        host: target.host,
        port: target.port,
        agent: false,
        timeout: LOST_MS,
        headers: { Host: target.name, Connection: "close" },
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk) => {
          body += chunk;
        });
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode!, body }));
      },
    );
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
}

/** Sends requests at an even pace until stopped; everything but a 200 is lost. */
export class Load {
  readonly #open = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  readonly #result: LoadResult = { sent: 0, lost: [] };

  constructor(target: Target, perSecond: number) {
    this.#timer = setInterval(() => {
      this.#result.sent++;
      const one = get(target)
        .then(
          ({ status }) => void (status === 200 || this.#result.lost.push(`status ${status}`)),
          (error: Error) => void this.#result.lost.push(error.message),
        )
        .finally(() => this.#open.delete(one));
      this.#open.add(one);
    }, 1000 / perSecond);
  }

  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    return this.#result;
  }
}

/** How often the new version is asked for. */
const ASK_MS = 5;

/** Milliseconds (performance.now) at which `target` first answered 200 with `body`; asks one at a time. */
export async function firstAnswer(target: Target, body: string, withinMs: number): Promise<number> {
  const end = performance.now() + withinMs;
  let last = "";
  while (performance.now() < end) {
    try {
      const answer = await get(target);
      if (answer.status === 200 && answer.body === body) return performance.now();
      last = `${answer.status} ${answer.body.slice(0, 80)}`;
    } catch (error) {
      last = (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
  throw new Error(`The app did not answer "${body}" within ${withinMs / 1000} s; last: ${last}`);
}
