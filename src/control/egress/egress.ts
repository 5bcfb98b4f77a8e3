import dns from "node:dns/promises";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import type { Readable } from "node:stream";
import { isPublic } from "../../wire/public-address.ts";

/*
 * The one rule for URLs that users give (design section 9): the scheme is on a list, the address is judged
 * after resolution and is the one connected to, redirects are judged anew, at most three, and credentials are
 * not carried to another origin.
 */

const REDIRECTS = 3;
const CONNECT_MS = 15_000;
/** No byte for this long ends a fetch. */
const IDLE_MS = 60_000;

/** A URL that may not be asked, or an answer that cannot be used; the message is for the user. */
export class EgressError extends Error {
  override name = "EgressError";
}

export interface Fetched {
  body: Readable;
  /** Content-Length, when the server told it. */
  length: number | null;
}

export class Egress {
  readonly #allowPrivate: boolean;

  /** @param allowPrivate addresses that are not public may be asked too (SLUICE_FETCH_ALLOW_PRIVATE). */
  constructor(allowPrivate: boolean) {
    this.#allowPrivate = allowPrivate;
  }

  /**
   * Reads a URL whose scheme must be one of `schemes` (`https:`).
   * @throws EgressError
   */
  parse(text: string, schemes: readonly string[]): URL {
    let url: URL;
    try {
      url = new URL(text);
    } catch {
      throw new EgressError(`"${text.slice(0, 200)}" is not a URL.`);
    }
    if (!schemes.includes(url.protocol)) {
      throw new EgressError(
        `A URL that begins with ${url.protocol} is not fetched; use ${schemes.map((scheme) => `${scheme}//`).join(" or ")}.`,
      );
    }
    if (!url.hostname) throw new EgressError("The URL names no host.");
    return url;
  }

  /**
   * The address to connect to for `host`: every address that it resolves to must be allowed.
   * @throws EgressError
   */
  async resolve(host: string): Promise<{ address: string; family: 4 | 6 }> {
    const bare = host.replace(/^\[|\]$/g, "");
    const kind = net.isIP(bare);
    const found = kind
      ? [{ address: bare, family: kind }]
      : await dns.lookup(bare, { all: true, verbatim: true }).catch(() => []);
    const first = found[0];
    if (!first) throw new EgressError(`The host ${bare} cannot be found.`);
    const refused = this.#allowPrivate ? undefined : found.find(({ address }) => !isPublic(address));
    if (refused) {
      throw new EgressError(
        `The host ${bare} is at an address that is not public (${refused.address}); the operator can open these with SLUICE_FETCH_ALLOW_PRIVATE=1.`,
      );
    }
    return { address: first.address, family: first.family === 6 ? 6 : 4 };
  }

  /** A TCP connection to `host`:`port`, to an address that was judged. @throws EgressError */
  async connect(host: string, port: number): Promise<net.Socket> {
    const { address } = await this.resolve(host);
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: address, port });
      const fail = (reason: string): void => {
        socket.destroy();
        reject(new EgressError(`${host}:${port} cannot be reached: ${reason}.`));
      };
      socket.setTimeout(CONNECT_MS, () => fail("no answer"));
      socket.once("error", (error) => fail(error.message));
      socket.once("connect", () => {
        socket.setTimeout(0);
        socket.removeAllListeners("error");
        socket.removeAllListeners("timeout");
        resolve(socket);
      });
    });
  }

  /**
   * Gets `text` over http or https, following redirects by the rule.
   * @throws EgressError when it may not be asked or does not answer 200.
   */
  async get(text: string): Promise<Fetched> {
    let url = this.parse(text, ["https:", "http:"]);
    for (let turn = 0; turn <= REDIRECTS; turn += 1) {
      const answer = await this.#ask(url);
      const status = answer.statusCode ?? 0;
      if (status === 200) {
        const length = Number(answer.headers["content-length"] ?? Number.NaN);
        return { body: answer, length: Number.isFinite(length) ? length : null };
      }
      answer.destroy();
      if (![301, 302, 303, 307, 308].includes(status) || !answer.headers.location) {
        throw new EgressError(`${url.host} answered ${status} for ${url.pathname}.`);
      }
      const next = this.parse(new URL(answer.headers.location, url).href, ["https:", "http:"]);
      if (next.origin === url.origin && !next.username) {
        next.username = url.username;
        next.password = url.password;
      }
      url = next;
    }
    throw new EgressError(`${url.host} redirects more than ${REDIRECTS} times.`);
  }

  async #ask(url: URL): Promise<http.IncomingMessage> {
    const { address, family } = await this.resolve(url.hostname);
    const secure = url.protocol === "https:";
    return new Promise((resolve, reject) => {
      const request = (secure ? https : http).request(url, {
        // The judged address is the one connected to, whatever the name says by then.
        lookup: (_host, options, done) =>
          options.all ? done(null, [{ address, family }]) : done(null, address, family),
        agent: false,
        headers: { "User-Agent": "sluice", Accept: "*/*" },
        timeout: IDLE_MS,
      });
      request.on("timeout", () => request.destroy(new Error("no answer")));
      request.on("error", (error) =>
        reject(new EgressError(`${url.host} cannot be reached: ${error.message}.`)),
      );
      request.on("response", resolve);
      request.end();
    });
  }
}
