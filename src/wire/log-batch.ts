/*
 * A log batch on the wire: the body of a LOG_BATCH frame.
 *
 *   u32 batch number (1, 2, 3, … in the sender's life)
 *   records, one after the other until the end of the frame:
 *     u32 app handle | u32 process handle | u8 source | f64 microseconds since the epoch | u32 length | bytes
 *
 * All big-endian. Handles are agreed on the link by LOG_NAME frames before their first use; they hold for the
 * life of the sender and are said again after a reconnect. Bytes carry no newline at the end.
 *
 *   sender                                      logplex
 *     | -- LOG_HELLO {sender} -------------------> |
 *     | -- LOG_NAME {handle, app | process} -----> |   an app's record also says how many of its lines were acknowledged
 *     | -- LOG_LOST {app, count, since} ---------> |   lines that the sender dropped: told as L12
 *     | -- LOG_BATCH --------------------------->  |
 *     | <------------------------- LOG_ACK u32 --- |   after the batch's lines stand in their rings; covers earlier ones
 *
 * HELLO, NAME and LOST are msgpackr. After a reconnect every batch that was not acknowledged is sent again with
 * its number, so the Logplex can pass over the ones that it has already taken.
 */

export const LOG_HELLO = 1;
export const LOG_NAME = 2;
export const LOG_BATCH = 3;
export const LOG_ACK = 4;
export const LOG_LOST = 5;

export interface LogHello {
  /** Random id of this sender's life. */
  sender: string;
}
export interface LogName {
  handle: number;
  /** App id, or null. */
  app: string | null;
  /** Process name (`web.1`, `router`), or null. */
  process: string | null;
  /** For an app: lines that the Logplex has acknowledged in this sender's life; the Logplex tells the gap to what it has kept. */
  acknowledged: number;
}
export interface LogLost {
  app: string;
  /** Lines dropped in this sender's whole life: saying it again after a reconnect counts nothing twice. */
  count: number;
  /** Microseconds since the epoch of the first one dropped since the last telling. */
  since: number;
}

/** Bytes before the first record: the batch number. */
export const BATCH_HEAD = 4;
/** Bytes of a record before its text, and where its fields lie. */
export const RECORD_HEAD = 21;
export const RECORD_PROCESS = 4;
export const RECORD_SOURCE = 8;
export const RECORD_MICROS = 9;
export const RECORD_LENGTH = 17;
/** Unacknowledged batches that a sender keeps, in bytes; beyond, the oldest go, counted. */
export const SENDER_LIMIT = 4 * 1024 * 1024;
/** Handles of a sender; a Logplex closes a link that names a higher one. */
export const HANDLE_LIMIT = 1 << 20;
