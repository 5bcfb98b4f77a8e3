import http from "node:http";
import type { Sluice } from "./sluice.ts";

export interface LoadResult {
  sent: number;
  /** What each request that was not answered 200 got instead. */
  lost: string[];
  /** Different bodies in the order in which each was first seen, with the time. */
  bodies: Map<string, number>;
}

/** A request still unanswered after this long is lost. */
const LOST_MS = 90_000;

/** Sends one request every `everyMs` to `app`, each on a connection of its own, until `stop`. */
export class Load {
  #timer: NodeJS.Timeout;
  #open = new Set<Promise<void>>();
  readonly result: LoadResult = { sent: 0, lost: [], bodies: new Map() };

  constructor(sluice: Sluice, app: string, everyMs: number, target = "/") {
    this.#timer = setInterval(() => {
      const one = this.#one(sluice, app, target).finally(() => this.#open.delete(one));
      this.#open.add(one);
    }, everyMs);
  }

  #one(sluice: Sluice, app: string, target: string): Promise<void> {
    this.result.sent += 1;
    const { hostname, port } = new URL(sluice.edge);
    const started = Date.now();
    return new Promise((resolve) => {
      const lose = (why: string): void => {
        this.result.lost.push(`${why} after ${Date.now() - started} ms`);
        resolve();
      };
      const headers = { Host: `${app}.localhost`, Connection: "close" };
      const request = http.get(
        { hostname, port, path: target, agent: false, headers, timeout: LOST_MS },
        (response) => {
          let body = "";
          response.setEncoding("utf8").on("data", (chunk) => {
            body += chunk;
          });
          response.on("error", (error) => lose(error.message));
          response.on("end", () => {
            if (response.statusCode !== 200)
              return lose(`status ${response.statusCode} ${/H\d\d/.exec(body)?.[0] ?? ""}`);
            if (!this.result.bodies.has(body)) this.result.bodies.set(body, Date.now());
            resolve();
          });
        },
      );
      request.on("timeout", () => request.destroy(new Error("no answer")));
      request.on("error", (error) => lose(error.message));
    });
  }

  /** Sends no more, waits for what is under way. */
  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    return this.result;
  }
}
