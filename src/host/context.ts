import type net from "node:net";
import type { Config } from "../config/environment.ts";
import type { Layout } from "../config/layout.ts";
import type { LogSender } from "../wire/log-sender.ts";
import type { Boxes } from "./box/boxes.ts";
import type { Slugs } from "./slugs.ts";

/** What the rooms of the host share. */
export interface HostContext {
  config: Config;
  layout: Layout;
  boxes: Boxes;
  slugs: Slugs;
  log: LogSender;
  /** Sends a message to control; false while there is no link. */
  send(kind: number, message: unknown): boolean;
  /** Opens a stream of control's by its id (src/wire/stream.ts). */
  openStream(id: string): Promise<net.Socket>;
}

/** A room of the host that takes some of control's messages (builds, fetches). */
export interface HostRoom {
  /** Takes a message; false when its kind is another room's. */
  take(kind: number, message: unknown): boolean;
  /** Ids of the builds under way, for the inventory. */
  builds(): string[];
  /** Ends what is under way, at once. */
  stop(): Promise<void>;
}
