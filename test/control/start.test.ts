import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { layoutOf, socketPath } from "../../src/config/layout.ts";
import type { PartMessage } from "../../src/config/part.ts";
import { lookUpUser } from "../../src/config/users.ts";
import { FeedReader } from "../../src/wire/feed.ts";
import { ReconnectingLink } from "../../src/wire/link.ts";
import { type DynoOrder, HOST_INVENTORY, type HostInventory } from "../../src/wire/orders.ts";
import type { Route } from "../../src/wire/routes.ts";
import { startPostgres, type TestPostgres } from "../postgres.ts";
import { ACCEPT } from "./api/house.ts";

/** The user that control runs as: this one, or as root one without rights. */
const user = process.getuid?.() === 0 ? lookUpUser("nobody") : null;

interface Running {
  child: ChildProcess;
  ports: Record<string, number>;
}

describe("control as a process", () => {
  let home: string;
  let postgres: TestPostgres;
  const children = new Set<ChildProcess>();

  before(async () => {
    home = mkdtempSync(path.join(os.tmpdir(), "sluice-control-"));
    for (const folder of ["", "control", "slugs", "sockets"]) {
      mkdirSync(path.join(home, folder), { recursive: true });
      if (user) chownSync(path.join(home, folder), user.uid, user.gid);
    }
    postgres = await startPostgres();
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await postgres.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const spawn = (env: Record<string, string> = {}): ChildProcess => {
    const child = fork(path.join(import.meta.dirname, "control-process.js"), {
      env: {
        ...process.env,
        SLUICE_HOME: home,
        SLUICE_SOCKETS: path.join(home, "sockets"),
        SLUICE_API_PORT: "0",
        SLUICE_API_TLS_PORT: "0",
        SLUICE_RENDEZVOUS_PORT: "0",
        SLUICE_API_KEY: "",
        DATABASE_URL: postgres.url,
        ...(user ? { TEST_UID: String(user.uid), TEST_GID: String(user.gid) } : {}),
        ...env,
      },
    });
    children.add(child);
    child.once("exit", () => children.delete(child));
    return child;
  };
  const firstMessage = async (child: ChildProcess): Promise<PartMessage> =>
    (await once(child, "message"))[0] as PartMessage;
  const start = async (env?: Record<string, string>): Promise<Running> => {
    const child = spawn(env);
    const message = await firstMessage(child);
    assert.ok(message.kind === "ready", JSON.stringify(message));
    return { child, ports: message.ports };
  };
  const key = (): string => readFileSync(path.join(home, "api-key"), "utf8").trim();
  const call = async ({ ports }: Running, method: string, target: string, body?: unknown) => {
    const response = await fetch(`http://127.0.0.1:${ports.http}${target}`, {
      method,
      headers: { accept: ACCEPT, authorization: `Bearer ${key()}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    // biome-ignore lint/suspicious/noExplicitAny: a test looks into bodies of every shape.
    return { status: response.status, body: (text ? JSON.parse(text) : null) as any };
  };
  const stop = async ({ child }: Running): Promise<void> => {
    child.send({ kind: "stop" });
    const [status] = await once(child, "exit");
    assert.equal(status, 0);
  };

  it("makes key, CA and certificates at its first start, and serves the API on both ports", async () => {
    const control = await start();
    assert.equal(statSync(path.join(home, "api-key")).mode & 0o777, 0o600);
    assert.equal(statSync(path.join(home, "control", "secret-key")).mode & 0o777, 0o600);
    assert.equal(statSync(path.join(home, "ca.pem")).mode & 0o777, 0o644);
    const ca = readFileSync(path.join(home, "ca.pem"));
    for (const host of ["127.0.0.1", "localhost"]) {
      const status = await new Promise((resolve, reject) => {
        const options = { host: "127.0.0.1", servername: host === "localhost" ? host : "", ca, agent: false };
        https
          .get(
            { ...options, port: control.ports.https, path: "/account", headers: { accept: ACCEPT } },
            (answer) => {
              answer.resume();
              resolve(answer.statusCode);
            },
          )
          .on("error", reject);
      });
      assert.equal(status, 401);
    }
    const rendezvous = tls.connect({ host: "127.0.0.1", port: control.ports.rendezvous, ca });
    await once(rendezvous, "secureConnect");
    rendezvous.destroy();
    await stop(control);
  });

  it("keeps everything over kill -9, and takes a higher epoch", async () => {
    const first = await start();
    const { body: app } = await call(first, "POST", "/apps", { name: "hello" });
    await call(first, "PATCH", "/apps/hello/config-vars", { COLOUR: "blue" });
    await call(first, "POST", "/apps/hello/domains", { hostname: "www.example.com" });

    // Edges wait for a host to say what runs.
    const layout = layoutOf(home, { SLUICE_SOCKETS: path.join(home, "sockets") });
    const orders = new FeedReader<DynoOrder>();
    const inventory: HostInventory = {
      machine: "here",
      address: "127.0.0.1",
      dynos: [],
      builds: [],
      missing: [],
    };
    const host = new ReconnectingLink(socketPath(layout, "control-host"), {
      onOpen(link) {
        orders.hello(link);
        link.send(HOST_INVENTORY, inventory);
      },
      onMessage: (kind, message) => void (host.link && orders.take(host.link, kind, message)),
    });
    const reader = new FeedReader<Route>();
    const epochs = new Set<number>();
    let seen = (): void => {};
    reader.onChange = () => {
      epochs.add(reader.position.epoch);
      seen();
    };
    const edge = new ReconnectingLink(socketPath(layout, "control-edge"), {
      onOpen: (link) => reader.hello(link),
      onMessage: (kind, message) => void (edge.link && reader.take(edge.link, kind, message)),
    });
    const until = (check: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        seen = () => {
          if (check()) resolve();
        };
        seen();
      });
    const hosts = (): string[] => {
      const route = reader.table.get(`app:${app.id}`);
      return route?.kind === "app" ? route.hosts : [];
    };
    await until(() => hosts().length === 2);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");

    const second = await start();
    await until(() => epochs.size === 2);
    assert.deepEqual(hosts().sort(), ["hello.localhost", "www.example.com"]);
    const [before, now] = [...epochs];
    assert.ok(now! > before!);
    assert.equal((await call(second, "GET", "/apps/hello")).body.id, app.id);
    assert.deepEqual((await call(second, "GET", "/apps/hello/config-vars")).body, { COLOUR: "blue" });
    const releases = await call(second, "GET", "/apps/hello/releases");
    assert.deepEqual(
      releases.body.map((release: { version: number; status: string }) => [release.version, release.status]),
      [
        [1, "succeeded"],
        [2, "succeeded"],
        [3, "succeeded"],
      ],
    );
    assert.match(releases.body[2].description, /^Set COLOUR config vars?$/);
    edge.close();
    host.close();
    await stop(second);
  });

  it("waits for a store that comes later, and outlives one that is killed", async () => {
    await postgres.kill();
    const child = spawn();
    const message = firstMessage(child);
    await postgres.start();
    const ready = await message;
    assert.ok(ready.kind === "ready");
    const control = { child, ports: ready.ports };
    assert.equal((await call(control, "GET", "/apps/hello")).status, 200);
    await postgres.kill();
    const down = await call(control, "GET", "/apps/hello");
    assert.equal(down.status, 503);
    assert.equal(down.body.id, "store_unavailable");
    assert.equal((await call(control, "GET", "/health")).body.parts.store, "down");
    await postgres.start();
    assert.equal((await call(control, "GET", "/apps/hello")).status, 200);
    await stop(control);
  });

  it("says in one sentence why it cannot start", async () => {
    const taken = net.createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as net.AddressInfo;
    for (const [env, words] of [
      [{ SLUICE_API_PORT: String(port) }, new RegExp(`^Port ${port} on 127.0.0.1 cannot be used: .*\\.$`)],
      [{ DATABASE_URL: "" }, /^DATABASE_URL is not set; .*\.$/],
      [{ SLUICE_SECRET_KEY: "short" }, /^SLUICE_SECRET_KEY is too short; .*\.$/],
      [{ SLUICE_SECRET_KEY: "another key than before" }, /written under another key; .*\.$/],
      [
        { SLUICE_API_TLS_CERT: "/nowhere/cert.pem", SLUICE_API_TLS_KEY: "/nowhere/key.pem" },
        /^SLUICE_API_TLS_CERT and SLUICE_API_TLS_KEY cannot be used: /,
      ],
    ] as const) {
      const child = spawn(env);
      const exit = once(child, "exit");
      const message = await firstMessage(child);
      assert.ok(message.kind === "failed", JSON.stringify(env));
      assert.match(message.message, words);
      const [status] = await exit;
      assert.equal(status, 1);
    }
    taken.close();
  });
});
