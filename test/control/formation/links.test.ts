import assert from "node:assert/strict";
import net from "node:net";
import { after, before, describe, it } from "node:test";
import { socketPath } from "../../../src/config/layout.ts";
import { createHosts, HostGone, type HostsEnd, StreamMissing } from "../../../src/control/hosts.ts";
import { type Links, openLinks } from "../../../src/control/links.ts";
import { FEED_HELLO, FEED_SNAPSHOT, FeedPublisher, type FeedSnapshot } from "../../../src/wire/feed.ts";
import { encodeFrame } from "../../../src/wire/frame.ts";
import { Link } from "../../../src/wire/link.ts";
import type { LogSetting } from "../../../src/wire/log-settings.ts";
import {
  BUILD_ORDER,
  type BuildOrder,
  type DynoOrder,
  HOST_INVENTORY,
  type HostInventory,
} from "../../../src/wire/orders.ts";
import { EDGE_DRAINED, type Route } from "../../../src/wire/routes.ts";
import { openStream } from "../../../src/wire/stream.ts";
import { type Home, makeHome } from "./rooms.ts";

const INVENTORY: HostInventory = { machine: "m", address: "127.0.0.1", dynos: [], builds: [], missing: [] };

describe("control's links", () => {
  let home: Home;
  let links: Links;
  let hosts: HostsEnd;
  let hostPath: string;
  const routes = new FeedPublisher<Route>(1);
  const orders = new FeedPublisher<DynoOrder>(1);
  const logSettings = new FeedPublisher<LogSetting>(1);
  let early: Promise<unknown>;

  /** A peer on one of control's sockets, with its first message of `kind`. */
  function connect(socket: "control-edge" | "control-host"): {
    link: Link;
    next: (kind: number) => Promise<unknown>;
  } {
    const link = new Link(net.connect(socketPath(home.layout, socket)));
    const waiting = new Map<number, (message: unknown) => void>();
    link.onMessage = (kind, message) => waiting.get(kind)?.(message);
    return { link, next: (kind) => new Promise((resolve) => waiting.set(kind, resolve)) };
  }

  before(async () => {
    home = makeHome();
    hostPath = socketPath(home.layout, "control-host");
    links = await openLinks(home.layout);
    hosts = createHosts(orders);
    // Comes before there is anything to serve.
    const edge = connect("control-edge");
    early = edge.next(FEED_SNAPSHOT);
    edge.link.send(FEED_HELLO, { epoch: 0, number: 0 });
    links.serve({ routes, logSettings, hosts });
  });
  after(async () => {
    hosts.close();
    await links.close();
    home.close();
  });

  it("holds what connects before it serves", async () => {
    assert.equal(((await early) as FeedSnapshot<Route>).epoch, 1);
    assert.deepEqual(links.connected(), { edge: 1, host: 0, logplex: 0 });
  });

  it("answers a host's hello only after its inventory", async () => {
    const host = connect("control-host");
    const snapshot = host.next(FEED_SNAPSHOT);
    let told = false;
    hosts.onInventory = () => {
      told = true;
    };
    host.link.send(FEED_HELLO, { epoch: 0, number: 0 });
    host.link.send(HOST_INVENTORY, INVENTORY);
    await snapshot;
    assert.equal(told, true);
    assert.equal(links.connected().host, 1);
    host.link.close();
  });

  it("rejects a build when its host goes away, and when there is none", async () => {
    const host = connect("control-host");
    const known = new Promise<void>((resolve) => {
      hosts.onInventory = () => resolve();
    });
    host.link.send(HOST_INVENTORY, INVENTORY);
    await known;
    const order = host.next(BUILD_ORDER);
    const build = hosts.build({ build: "b1" } as BuildOrder);
    assert.equal(((await order) as BuildOrder).build, "b1");
    host.link.socket.destroy();
    await assert.rejects(build, HostGone);
    await assert.rejects(hosts.build({ build: "b2" } as BuildOrder), /No host is connected/);
  });

  it("gives a promised stream once, with its first bytes, and serves those of a prefix", async () => {
    const expected = hosts.expectStream(5000);
    const opened = await openStream(hostPath, expected.id);
    opened.write("first");
    const socket = await expected.take;
    const [chunk] = await new Promise<[Buffer]>((resolve) =>
      socket.once("data", (data) => resolve([data])).resume(),
    );
    assert.equal(String(chunk), "first");
    const again = await openStream(hostPath, expected.id);
    await new Promise((resolve) => again.once("close", resolve).resume());
    hosts.serveStreams("slug:", (rest, stream) => stream.end(rest.toUpperCase()));
    const served = await openStream(hostPath, "slug:abc");
    let text = "";
    for await (const data of served) text += data;
    assert.equal(text, "ABC");
    opened.destroy();
    await assert.rejects(hosts.expectStream(1).take, StreamMissing);
    const canceled = hosts.expectStream(5000);
    canceled.cancel();
    await assert.rejects(canceled.take, StreamMissing);
  });

  it("cuts off an edge that speaks nonsense, and lives", async () => {
    for (const frame of [
      encodeFrame(EDGE_DRAINED, Buffer.of(0xc1, 0xff, 0xff)),
      encodeFrame(200, Buffer.of(0x80)),
      encodeFrame(EDGE_DRAINED, Buffer.of(0x05)),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    ]) {
      const socket = net.connect(socketPath(home.layout, "control-edge"));
      socket.write(frame);
      await new Promise((resolve) => socket.once("close", resolve).resume());
    }
    const edge = connect("control-edge");
    const snapshot = edge.next(FEED_SNAPSHOT);
    edge.link.send(FEED_HELLO, { epoch: 0, number: 0 });
    await snapshot;
    edge.link.send(EDGE_DRAINED, { dynos: "no list" });
    edge.link.close();
  });
});
