import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import type { Config } from "../config/environment.ts";
import { type Layout, socketPath } from "../config/layout.ts";
import type { Part } from "../config/part.ts";
import { FeedReader } from "../wire/feed.ts";
import { type Link, ReconnectingLink } from "../wire/link.ts";
import { createLogSender } from "../wire/log-sender.ts";
import {
  APP_FORGET,
  type AppForget,
  DYNO_RESTART,
  DYNO_SIGNAL,
  type DynoOrder,
  type DynoRestart,
  type DynoSignal,
  HOST_INVENTORY,
  type HostInventory,
} from "../wire/orders.ts";
import { openStream } from "../wire/stream.ts";
import { Boxes } from "./box/boxes.ts";
import { BuildRoom } from "./build/builds.ts";
import { FetchRoom } from "./build/fetches.ts";
import type { HostContext, HostRoom } from "./context.ts";
import { Dynos } from "./dynos.ts";
import { Slugs } from "./slugs.ts";

/** Waited for the Logplex to take the last lines at the end. */
const LOG_CLOSE_MS = 2000;

/**
 * Starts the host: adopts the dynos that run already, then does what control orders. It serves no port.
 * @throws Error when the home's host folder cannot be used.
 */
export async function startHost(config: Config, layout: Layout): Promise<Part> {
  mkdirSync(layout.host, { recursive: true, mode: 0o700 });
  const log = createLogSender(socketPath(layout, "logplex-host"));
  const control = socketPath(layout, "control-host");
  const { boxes, survivors } = await Boxes.open(config, layout);
  const open = (id: string): ReturnType<typeof openStream> => openStream(control, id);
  const slugs = new Slugs(path.join(layout.host, "slugs"), boxes, open);
  let link: ReconnectingLink | null = null;
  const context: HostContext = {
    config,
    layout,
    boxes,
    slugs,
    log,
    send: (kind, message) => link?.send(kind, message) ?? false,
    openStream: open,
  };
  const rooms: HostRoom[] = [new BuildRoom(context), new FetchRoom(context)];
  const dynos = new Dynos(context);
  // Before control is heard: nothing may run twice.
  await dynos.adopt(survivors);

  const orders = new FeedReader<DynoOrder>();
  orders.onChange = (keys, all) => dynos.apply(orders.table, keys, all);
  const inventory = (): HostInventory => ({
    machine: hostname(),
    address: "127.0.0.1",
    dynos: dynos.reports(),
    builds: rooms.flatMap((room) => room.builds()),
    missing: boxes.notes,
  });
  const take = (open: Link, kind: number, message: unknown): void => {
    if (orders.take(open, kind, message)) return;
    if (kind === DYNO_RESTART) dynos.restart((message as DynoRestart).dyno);
    else if (kind === DYNO_SIGNAL) dynos.signal(message as DynoSignal);
    else {
      if (kind === APP_FORGET) slugs.forget((message as AppForget).uids);
      for (const room of rooms) if (room.take(kind, message)) return;
    }
  };
  link = new ReconnectingLink(control, {
    onOpen: (open) => {
      open.send(HOST_INVENTORY, inventory());
      orders.hello(open);
    },
    onMessage: (kind, message) => {
      if (link?.link) take(link.link, kind, message);
    },
  });

  return {
    ports: {},
    notes: boxes.notes,
    async stop(now = false) {
      // Control shall see a host that left, not dynos that went down.
      link?.close();
      await Promise.all([dynos.stop(now), ...rooms.map((room) => room.stop())]);
      await log.close(LOG_CLOSE_MS);
      await boxes.close();
    },
    async abandon() {
      link?.close();
      dynos.abandon();
      await Promise.all(rooms.map((room) => room.stop()));
      await log.close(LOG_CLOSE_MS);
    },
  };
}
