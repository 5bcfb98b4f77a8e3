import {
  HEADER_COUNT_LIMIT,
  HEADER_LINE_LIMIT,
  HEADER_NAME_LIMIT,
  HEADERS_LIMIT,
  METHOD_LIMIT,
  REQUEST_LINE_LIMIT,
} from "./limits.ts";

/** Why a request is refused: its status, and a sentence for whoever sent it. Nothing of it reaches a dyno. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
}

const bad = (message: string): Refusal => ({ status: 400, reason: "Bad Request", message });

const NO_HOST = bad("The request has no Host header.");
const TWO_HOSTS = bad("The request has more than one Host header.");
const BAD_LENGTH = bad("Content-Length must be one whole number.");
const LENGTH_AND_CODING = bad("A request may not have both Content-Length and Transfer-Encoding.");
const BAD_NAME = bad("A header name holds a character that is not allowed.");
const BAD_VALUE = bad("A header value holds a control character.");
const BAD_TARGET = bad("The request line holds a character that is not allowed.");
const LONG_LINE = bad(`The request line is longer than ${REQUEST_LINE_LIMIT} bytes.`);
const LONG_HEADER = bad(`A header line is longer than ${HEADER_LINE_LIMIT} bytes.`);
const BAD_METHOD = bad(`The method is not allowed or longer than ${METHOD_LIMIT} characters.`);
const UNKNOWN_CODING: Refusal = {
  status: 501,
  reason: "Not Implemented",
  message: "The only Transfer-Encoding taken is chunked.",
};
const MANY_HEADERS: Refusal = {
  status: 431,
  reason: "Request Header Fields Too Large",
  message: `A request may have at most ${HEADER_COUNT_LIMIT} header fields.`,
};
const LARGE_HEAD: Refusal = {
  status: 431,
  reason: "Request Header Fields Too Large",
  message: `The header lines of a request may have at most ${HEADERS_LIMIT} bytes.`,
};
const UNKNOWN_EXPECT: Refusal = {
  status: 417,
  reason: "Expectation Failed",
  message: "The only Expect taken is 100-continue.",
};

/** Characters of a token (RFC 9110, 5.6.2), by code. */
const TOKEN = new Uint8Array(128);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[char.charCodeAt(0)] = 1;
}

function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char > 127 || TOKEN[char] === 0) return false;
  }
  return text.length > 0;
}

const ID_MIN = 20;
const ID_MAX = 200;

/** Whether a client's X-Request-Id is kept: 20 to 200 characters of `[A-Za-z0-9+/=-]`. */
function isRequestId(text: string): boolean {
  if (text.length < ID_MIN || text.length > ID_MAX) return false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    const known =
      (c >= 97 && c <= 122) ||
      (c >= 48 && c <= 57) ||
      (c >= 65 && c <= 90) ||
      c === 43 ||
      c === 47 ||
      c === 61 ||
      c === 45;
    if (!known) return false;
  }
  return true;
}

/**
 * The head of one request, taken field by field from a front. What the dyno will be sent is written while the
 * fields are read, so a header is touched once; what the pipeline needs is kept beside. Strictness lives here
 * and is the same for every front (RFC 9112; contract, section 1).
 */
export class RequestHead {
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly target: string;
  /** The header lines that go to the dyno as they are, each ended by CRLF. */
  lines = "";
  host = "";
  /** Bytes of the body; -1 when it is chunked; 0 when there is none. */
  length = 0;
  /** The client's X-Forwarded-For, joined by `, `; empty when none. */
  forwardedFor = "";
  /** A valid id of the client's; empty when the edge must make one. */
  requestId = "";
  via = "";
  cookie = "";
  /** Value of Upgrade; empty when the client asks for none. */
  upgrade = "";
  webSocketKey = "";
  webSocketProtocol = "";
  /** Some character is beyond ASCII, so the head is sent as UTF-8. */
  wide = false;
  /** A quotation mark is in the target. */
  quotes = false;
  refusal: Refusal | null = null;
  #count = 0;
  #bytes = 0;
  #hasHost = false;
  #hasLength = false;

  constructor(method: string, target: string) {
    // The constant has its hash already.
    this.method = method === "GET" ? "GET" : method;
    this.target = target;
    if (method.length > METHOD_LIMIT || method === "CONNECT" || !isToken(method)) this.refusal = BAD_METHOD;
    else if (method.length + target.length + 10 > REQUEST_LINE_LIMIT) this.refusal = LONG_LINE;
    else this.#checkTarget();
  }

  #checkTarget(): void {
    const target = this.target;
    for (let i = 0; i < target.length; i++) {
      const char = target.charCodeAt(i);
      if (char <= 32 || char === 127) {
        this.refusal = BAD_TARGET;
        return;
      }
      if (char === 34) this.quotes = true;
      else if (char > 127) this.wide = true;
    }
  }

  /** Takes one field; `name` is in lower case, `value` without the white space around it. */
  add(name: string, value: string): void {
    if (this.refusal !== null) return;
    this.refusal = this.#check(name, value);
    if (this.refusal !== null || this.#special(name, value)) return;
    this.lines += `${name}: ${value}\r\n`;
  }

  #check(name: string, value: string): Refusal | null {
    if (++this.#count > HEADER_COUNT_LIMIT) return MANY_HEADERS;
    const line = name.length + value.length + 4;
    if (line > HEADER_LINE_LIMIT || name.length > HEADER_NAME_LIMIT) return LONG_HEADER;
    this.#bytes += line;
    if (this.#bytes > HEADERS_LIMIT) return LARGE_HEAD;
    if (!isToken(name)) return BAD_NAME;
    for (let i = 0; i < value.length; i++) {
      const char = value.charCodeAt(i);
      // A lone CR or LF that a front let through would be a header of its own to the dyno.
      if ((char < 32 && char !== 9) || char === 127) return BAD_VALUE;
      if (char > 127) this.wide = true;
    }
    return null;
  }

  /** Handles the fields that are not passed on as they are; true when `value` has been dealt with. */
  #special(name: string, value: string): boolean {
    switch (name) {
      case "host":
        if (this.#hasHost) this.refusal = TWO_HOSTS;
        this.#hasHost = true;
        this.host = value;
        return false;
      case "content-length":
        this.refusal = this.#takeLength(value);
        return true;
      case "transfer-encoding":
        if (value.length !== 7 || value.toLowerCase() !== "chunked" || this.length === -1) {
          this.refusal = UNKNOWN_CODING;
        } else if (this.#hasLength) this.refusal = LENGTH_AND_CODING;
        this.length = -1;
        return true;
      case "expect":
        // 100-continue has been answered by the front before the body came.
        if (value.toLowerCase() !== "100-continue") this.refusal = UNKNOWN_EXPECT;
        return true;
      case "upgrade":
        this.upgrade = value;
        return true;
      case "sec-websocket-key":
        this.webSocketKey = value;
        return true;
      case "sec-websocket-protocol":
        this.webSocketProtocol = this.webSocketProtocol ? `${this.webSocketProtocol}, ${value}` : value;
        return true;
      case "sec-websocket-extensions":
        // The relay holds whole messages as they are meant, so neither side may compress.
        return true;
      case "connection":
      case "keep-alive":
      case "te":
      case "proxy-authorization":
      case "proxy-connection":
      case "trailer":
      case "x-forwarded-proto":
      case "x-forwarded-port":
      case "x-request-start":
        return true;
      case "x-forwarded-for":
        this.forwardedFor = this.forwardedFor ? `${this.forwardedFor}, ${value}` : value;
        return true;
      case "x-request-id":
        this.requestId = isRequestId(value) ? value : "";
        return true;
      case "via":
        this.via = this.via ? `${this.via}, ${value}` : value;
        return true;
      case "cookie":
        this.cookie = this.cookie ? `${this.cookie}; ${value}` : value;
        return false;
      default:
        return false;
    }
  }

  #takeLength(value: string): Refusal | null {
    if (this.length === -1) return LENGTH_AND_CODING;
    // At most 15 digits: more than a number holds exactly is no length of a real body.
    if (value.length === 0 || value.length > 15) return BAD_LENGTH;
    let length = 0;
    for (let i = 0; i < value.length; i++) {
      const digit = value.charCodeAt(i) - 48;
      if (digit < 0 || digit > 9) return BAD_LENGTH;
      length = length * 10 + digit;
    }
    if (this.#hasLength && length !== this.length) return BAD_LENGTH;
    this.#hasLength = true;
    this.length = length;
    return null;
  }

  /** Call after the last field. */
  finish(): void {
    if (this.refusal === null && (!this.#hasHost || this.host === "")) this.refusal = NO_HOST;
  }

  /** True when the client sent Content-Length, 0 included. */
  get hasLength(): boolean {
    return this.#hasLength;
  }
}
