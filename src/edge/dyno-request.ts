import type { RequestExchange } from "./exchange.ts";

/**
 * The head of a request as the dyno gets it: what the client sent, then the fields that the contract's section 1
 * has the router set. Few pieces, for each one joined costs as much as a hundred bytes.
 */
export function dynoRequest(exchange: RequestExchange): string {
  const { request } = exchange;
  const came = request.forwardedFor === "" ? arrival.lines(exchange) : arrivalLines(exchange);
  const usual = request.via === "" && request.upgrade === "" && exchange.app!.route.keepAlive;
  return `${request.method} ${request.target} HTTP/1.1\r\n${request.lines}${framing(exchange)}${came}${exchange.requestId}${usual ? VIA : lastLines(exchange)}`;
}

const VIA = "\r\nVia: 1.1 heroku-router\r\n\r\n";

function framing({ request }: RequestExchange): string {
  if (request.length === -1) return "Transfer-Encoding: chunked\r\n";
  return request.hasLength ? `Content-Length: ${request.length}\r\n` : "";
}

/** What ends a head that is not the usual one: other proxies before, an upgrade, or a connection not kept. */
function lastLines({ request, app }: RequestExchange): string {
  const via = `\r\nVia: ${request.via === "" ? "" : `${request.via}, `}1.1 heroku-router\r\n`;
  if (request.upgrade === "") return `${via}${app!.route.keepAlive ? "" : "Connection: close\r\n"}\r\n`;
  const protocol = request.webSocketProtocol;
  const offered = protocol === "" ? "" : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  return `${via}Connection: Upgrade\r\nUpgrade: ${request.upgrade}\r\nSec-WebSocket-Key: ${request.webSocketKey}\r\n${offered}\r\n`;
}

/** From whom, how and when the request came, up to its id. */
function arrivalLines({ request, client, startedAt }: RequestExchange): string {
  const before = request.forwardedFor === "" ? "" : `${request.forwardedFor}, `;
  return `X-Forwarded-For: ${before}${client.address}\r\nX-Forwarded-Proto: ${client.tls ? "https" : "http"}\r\nX-Forwarded-Port: ${client.port}\r\nX-Request-Start: ${startedAt}\r\nX-Request-Id: `;
}

/** Those lines of the last request, which the next one shares when it came likewise in the same millisecond. */
class Arrival {
  #address = "";
  #tls = false;
  #port = 0;
  #at = 0;
  #lines = "";

  lines(exchange: RequestExchange): string {
    const { client, startedAt } = exchange;
    if (
      startedAt !== this.#at ||
      client.port !== this.#port ||
      client.tls !== this.#tls ||
      client.address !== this.#address
    ) {
      this.#at = startedAt;
      this.#port = client.port;
      this.#tls = client.tls;
      this.#address = client.address;
      this.#lines = arrivalLines(exchange);
    }
    return this.#lines;
  }
}

const arrival = new Arrival();
