import http from "node:http";
import type { Duplex } from "node:stream";
import { Connection } from "./connection.ts";
import type { Destination } from "./destination.ts";
import { logplexForm } from "./frame-form.ts";
import type { Frame, Outcome, Transport, TransportOptions } from "./transport.ts";

/** One frame's bytes, its answer's time, the pauses and the rest are Heroku's (contract, section 3). */
const FRAME_BYTES = 102_400;
const ANSWER_MS = 5000;
const IDLE_MS = 144_000;
const PAUSE_UNIT_MS = 10;
const PAUSE_EXPONENT_MAX = 10;
const HOPELESS_MS = 5 * 60 * 1000;
const USER_AGENT = "Logplex/1.0";

/** HTTPS (or HTTP) drain: `POST` of a frame as application/logplex-1, one at a time on one kept connection. */
export class HttpTransport implements Transport {
  readonly form = logplexForm;
  readonly frameBytes = FRAME_BYTES;
  readonly tries = 3;
  #destination: Destination;
  #headers: Record<string, string>;
  #connection: Connection;
  #agent: http.Agent;
  #busy = false;

  constructor(destination: Destination, drainToken: string, options: TransportOptions) {
    this.#destination = destination;
    this.#connection = new Connection(destination, options, IDLE_MS);
    this.#headers = {
      host: destination.hostHeader,
      "content-type": "application/logplex-1",
      "logplex-drain-token": drainToken,
      "user-agent": USER_AGENT,
    };
    if (destination.authorization) this.#headers.authorization = destination.authorization;
    // The agent only says keep-alive; the connection is ours, opened under the rule for addresses.
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    this.#agent.createConnection = () => this.#connection.socket as Duplex;
  }

  pause(failures: number): number {
    if (failures <= 1) return 0;
    return PAUSE_UNIT_MS * (1 + Math.floor(Math.random() * 2 ** Math.min(failures, PAUSE_EXPONENT_MAX)));
  }

  hopeless(_failures: number, sinceMs: number): boolean {
    return sinceMs >= HOPELESS_MS;
  }

  async send(frame: Frame): Promise<Outcome> {
    this.#busy = true;
    try {
      if (!this.#connection.socket && !(await this.#connection.open())) return "unreachable";
      const outcome = await this.#post(frame);
      if (outcome === "failed") this.#connection.destroy();
      else this.#connection.used();
      return outcome;
    } finally {
      this.#busy = false;
    }
  }

  #post(frame: Frame): Promise<Outcome> {
    return new Promise((resolve) => {
      const request = http.request({
        method: "POST",
        path: this.#destination.target,
        agent: this.#agent,
        headers: {
          ...this.#headers,
          "logplex-msg-count": String(frame.count),
          "logplex-frame-id": frame.id,
          "content-length": String(frame.bytes.length),
        },
      });
      const timer = setTimeout(() => request.destroy(new Error("No answer in time.")), ANSWER_MS);
      const done = (outcome: Outcome): void => {
        clearTimeout(timer);
        resolve(outcome);
      };
      request.on("error", () => done("failed"));
      request.on("close", () => done("failed"));
      request.on("response", (response) => {
        const outcome = outcomeOf(response.statusCode ?? 0);
        response.on("error", () => done("failed"));
        response.on("end", () => done(outcome));
        // An answer that is cut short after its status still was an answer.
        response.on("close", () => done(outcome));
        response.resume();
      });
      request.end(frame.bytes);
    });
  }

  tick(now: number): void {
    if (!this.#busy) this.#connection.tick(now);
  }

  close(): void {
    this.#connection.close();
    this.#agent.destroy();
  }
}

/** 2xx: taken. 4xx but 429: refused for good. All else, redirects included: try again. */
function outcomeOf(status: number): Outcome {
  if (status >= 200 && status < 300) return "delivered";
  return status >= 400 && status < 500 && status !== 429 ? "refused" : "failed";
}
