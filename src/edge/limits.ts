/*
 * Every bound of the edge beside its reason. Requests: contract section 1 (Heroku's limits), and what the
 * fronts can hold; answers: the same section; times in milliseconds.
 */

/** Request line and header line, header name and method in bytes; beyond: 400. */
export const REQUEST_LINE_LIMIT = 8192;
export const HEADER_LINE_LIMIT = 8192;
export const HEADER_NAME_LIMIT = 1000;
export const METHOD_LIMIT = 127;
/** Header fields of a request; uWebSockets never answers one with more than about 100, so we refuse earlier: 431. */
export const HEADER_COUNT_LIMIT = 90;
/** All header lines of a request: what the library holds when a head comes in pieces; beyond: 431. */
export const HEADERS_LIMIT = 64 * 1024;

/** Answers: status line, header line, one Set-Cookie, and the whole head (a router's buffer at Heroku: 1 MB). */
export const STATUS_LINE_LIMIT = 8192;
export const ANSWER_LINE_LIMIT = 512 * 1024;
export const COOKIE_LIMIT = 8192;
export const ANSWER_HEAD_LIMIT = 1024 * 1024;
/** Chunk extensions and trailers of an answer, both dropped, may not go on for ever. */
export const CHUNK_EXTRA_LIMIT = 8192;

/** Bytes of an answer that came after H12, read and dropped; a longer one has its connection closed. */
export const LATE_ANSWER_LIMIT = 1024 * 1024;

/** Bytes read from a dyno at once; also what is kept for a client that does not take them. */
export const READ_BUFFER = 64 * 1024;
/** Bytes of an upload that wait for a dyno; one read of a front is at most 512 KiB, then the client is paused. */
export const UPLOAD_WAIT_LIMIT = 1024 * 1024;
/** A WebSocket message is relayed whole, so one has to fit; also what may wait for a slow peer. */
export const MESSAGE_LIMIT = 16 * 1024 * 1024;
export const TUNNEL_HIGH_WATER = 1024 * 1024;

/** Open requests of one app in one worker: this times its web dynos; beyond: H11. */
export const REQUESTS_PER_DYNO = 200;
/** Dynos tried for one request. */
export const CONNECT_ATTEMPTS = 10;
/** Idle connections kept to one dyno; a dyno of one thread gains nothing from more. */
export const POOL_LIMIT = 256;
/** A request that may not be sent twice goes only on a connection idle for less: servers close idle ones after 2 s or more. */
export const FRESH_IDLE_MS = 1500;

/** The clocks of the contract; tests use shorter ones. */
export interface Durations {
  /** To the first byte of the answer, from the whole request having been sent (H12). */
  firstByte: number;
  /** Between any two bytes afterwards (H15, H28), and of a WebSocket. */
  rolling: number;
  /** One connection attempt (H19). */
  connect: number;
  /** All attempts and pauses together (H99). */
  connectTotal: number;
  /** A dyno that refused or did not answer is left alone for so long. */
  quarantine: number;
  /** A connection on which an answer is late (H12): so much longer is it read, and what comes dropped. */
  late: number;
  /** A pooled connection without a request. */
  idle: number;
  /** Unsent requests at stop. */
  stop: number;
}

export const DURATIONS: Durations = {
  firstByte: 30_000,
  rolling: 55_000,
  connect: 5_000,
  connectTotal: 75_000,
  quarantine: 5_000,
  late: 30_000,
  idle: 90_000,
  stop: 30_000,
};
