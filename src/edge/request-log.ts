import type { LogSender } from "../wire/log-sender.ts";
import { LINE_LIMIT, Source } from "../wire/source.ts";
import { time } from "./clock.ts";
import type { ErrorCode } from "./codes.ts";
import type { RequestExchange } from "./exchange.ts";

/** Value without what would end it early. */
const quoted = (text: string): string => text.replaceAll('"', "%22");

/** Texts of the times that most requests take, with the word that follows them. */
const timesWith = (word: string): string[] => Array.from({ length: 1024 }, (_, ms) => `${ms}ms ${word}=`);
const CONNECT = timesWith("service");
const SERVICE = timesWith("status");

/** `12ms service=`; a time that there is not stays empty. */
const timed = (ms: number, texts: string[], word: string): string =>
  texts[ms] ?? (ms < 0 ? ` ${word}=` : `${ms}ms ${word}=`);

/** `sock=backend at=error code=H18 desc="…" method=`: what stands before the method. */
const prefix = (code: ErrorCode): string =>
  `${code.socket ? `sock=${code.socket} ` : ""}at=${code.at} code=${code.code} desc="${code.description}" method=`;

/** ` fwd="203.0.113.7" dyno=web.1 connect=` of the last line, which most lines share with the one before. */
class Between {
  #address = "";
  #dyno = "";
  #text = "";

  text(address: string, dyno: string): string {
    if (address !== this.#address || dyno !== this.#dyno) {
      this.#address = address;
      this.#dyno = dyno;
      this.#text = ` fwd="${address}" dyno=${dyno} connect=`;
    }
    return this.#text;
  }
}
const between = new Between();

function fwdAndDyno({ request, client, dyno }: RequestExchange): string {
  const name = dyno === null ? "" : dyno.name;
  if (request.forwardedFor === "") return between.text(client.address, name);
  const list = quoted(request.forwardedFor).replaceAll(", ", ",");
  return ` fwd="${list},${client.address}" dyno=${name} connect=`;
}

const HTTP1 = " protocol=http1.1 tls=false";

function protocolAndTls({ client }: RequestExchange): string {
  if (!client.tls && client.protocol === "http1.1") return HTTP1;
  return ` protocol=${client.protocol} ${client.tls ? "tls=true tls_version=unknown" : "tls=false"}`;
}

/** The router's line for one request, fields and order as the contract's section 1 has them. */
export function requestLine(exchange: RequestExchange, code: ErrorCode | null): string {
  const { request } = exchange;
  const connect = timed(exchange.connectMs, CONNECT, "service");
  const service = timed(exchange.serviceMs, SERVICE, "status");
  return `${code === null ? "at=info method=" : prefix(code)}${request.method} path="${request.quotes ? quoted(request.target) : request.target}" host=${request.host} request_id=${exchange.requestId}${fwdAndDyno(exchange)}${connect}${service}${exchange.status === 0 ? "" : exchange.status} bytes=${exchange.bytes < 0 ? "" : exchange.bytes}${protocolAndTls(exchange)}`;
}

/** Writes the router's lines straight into the log sender's batch. */
export class RequestLog {
  #sender: LogSender;
  #router: number;

  constructor(sender: LogSender) {
    this.#sender = sender;
    this.#router = sender.process("router");
  }

  write(exchange: RequestExchange, code: ErrorCode | null): void {
    const app = exchange.app;
    // A host that no app has belongs in no app's log.
    if (app === null) return;
    const line = requestLine(exchange, code);
    const sender = this.#sender;
    const micros = time.wall * 1000;
    if (exchange.request.wide || line.length > LINE_LIMIT) {
      sender.write(app.logHandle, this.#router, Source.Router, micros, Buffer.from(line));
      return;
    }
    const at = sender.begin(app.logHandle, this.#router, Source.Router, micros, line.length);
    sender.commit(at + sender.buffer.write(line, at, "latin1"));
  }
}
