import http from "node:http";
import { StartError } from "./start-error.ts";

/** The parts find each other within milliseconds of their own start; this is for a machine that is very busy. */
const WHOLE_MS = 30_000;
const POLL_MS = 10;

/**
 * Resolves when the API answers that store and all parts are up.
 * @param health URL of `GET /health`.
 * @throws StartError naming the parts that are still down.
 */
export async function untilWhole(health: string): Promise<void> {
  const end = Date.now() + WHOLE_MS;
  for (;;) {
    const { status, body } = await get(health);
    if (status === 200) return;
    if (Date.now() > end) {
      throw new StartError(
        `The parts did not find each other in ${WHOLE_MS / 1000} s; ${health} says: ${body}`,
      );
    }
    await new Promise((later) => setTimeout(later, POLL_MS));
  }
}

function get(url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve) => {
    const failed = (error: Error): void => resolve({ status: 0, body: error.message });
    const request = http.get(url, { agent: false, timeout: 2000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body })).on("error", failed);
    });
    request.on("timeout", () => request.destroy(new Error("no answer"))).on("error", failed);
  });
}
