import type { FrameForm } from "./frame-form.ts";

/** Messages on their way to a drain together. */
export interface Frame {
  /** The framed messages; the transport's until it has answered. */
  bytes: Buffer;
  /** Messages in it, an L10 line included. */
  count: number;
  /** 32 hex digits in upper case; the same at every try. */
  id: string;
}

/**
 * What became of a frame: taken; refused for good; failed, so try again; or there was no connection to send it
 * on, which is no fault of the frame.
 */
export type Outcome = "delivered" | "refused" | "failed" | "unreachable";

/** One way to a drain. The drain loop sends one frame at a time. */
export interface Transport {
  readonly form: FrameForm;
  /** Bytes of a frame; a larger message goes alone. */
  readonly frameBytes: number;
  /** Tries of one frame before it is dropped. */
  readonly tries: number;
  /** Milliseconds to wait after `failures` in a row (at least 1). */
  pause(failures: number): number;
  /** True when the drain has failed for so long that it keeps only a small buffer. */
  hopeless(failures: number, sinceMs: number): boolean;
  /** Sends a frame. An answer that is no promise means that the bytes are free again. */
  send(frame: Frame): Outcome | Promise<Outcome>;
  /** Called about once a second: closes a connection that is idle or old. */
  tick(now: number): void;
  close(): void;
}

/** What a transport tells of a connection that could not be made, besides its outcome. */
export type Trouble = { kind: "certificate" } | { kind: "private"; message: string };

export interface TransportOptions {
  allowPrivate: boolean;
  /** Certificates to trust instead of the public ones. */
  ca?: string;
  onTrouble: (trouble: Trouble) => void;
}
