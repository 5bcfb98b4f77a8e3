import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { createFormation } from "../../../src/control/formation/keeper.ts";
import { cutPieces } from "../../../src/control/rendezvous/terminal.ts";
import { startPostgres, type TestPostgres } from "../../postgres.ts";
import { PeerHost } from "./peer-host.ts";
import { addApp, call, deploy, type Home, makeHome, openRooms, type Rooms } from "./rooms.ts";

const MARK = "\uFFFF heroku-command-exit-status: ";

describe("one-off dynos", () => {
  let postgres: TestPostgres;
  let home: Home;
  let rooms: Rooms;
  let host: PeerHost;
  let app: string;
  before(async () => {
    postgres = await startPostgres();
    home = makeHome();
    rooms = await openRooms(home, postgres.url, { drainMs: 500 });
    host = new PeerHost(home.layout);
    app = await addApp(rooms, "oneoff");
    await deploy(rooms, app, { worker: "echo worker says" });
  });
  after(async () => {
    await host.close();
    await rooms.close();
    await postgres.stop();
    home.close();
  });
  const run = (body: object) => call(rooms.url, "POST", `/apps/${app}/dynos`, body);
  const dynos = async (): Promise<string[]> =>
    (await call(rooms.url, "GET", `/apps/${app}/dynos`)).body.map(({ name }: { name: string }) => name);

  /** Comes to the rendezvous as `heroku run` does: its records, each as it arrived. */
  function attach(url: string): { socket: tls.TLSSocket; records: Buffer[]; ended: Promise<void> } {
    const { hostname, port, pathname } = new URL(url.replace("rendezvous:", "http:"));
    const socket = tls.connect({
      host: hostname,
      port: Number(port),
      ca: readFileSync(home.layout.caFile),
    });
    const records: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => records.push(chunk));
    socket.on("error", () => {});
    socket.write(`${pathname.slice(1)}\r\n`);
    return { socket, records, ended: new Promise((resolve) => socket.once("close", () => resolve())) };
  }

  it("joins an attached one with its client, banner first, and passes the exit status on", async () => {
    const { status, body } = await run({
      command: "cat; echo done; exit 7",
      attach: true,
      exit_status: true,
      force_no_tty: true,
      env: { TERM: "xterm", COLUMNS: 120, LINES: 40 },
    });
    assert.equal(status, 201);
    assert.match(body.name, /^run\.\d{4}$/);
    assert.match(body.attach_url, /^rendezvous:\/\/127\.0\.0\.1:\d+\/[\w-]{43}$/);
    const { socket, records, ended } = attach(body.attach_url);
    socket.write("typed\n\x04");
    await ended;
    assert.equal(String(records[0]), "rendezvous\r\n");
    assert.equal(String(Buffer.concat(records.slice(1))), `typed\ndone\n${MARK}7\n`);
    const order = rooms.lines.filter((line) => line.includes("cat; echo done") || line.startsWith(body.name));
    assert.deepEqual(order, [
      "api: Starting process with command `cat; echo done; exit 7` by user admin@localhost",
      `${body.name}: Awaiting client`,
    ]);
    await host.until(() => host.dynos.size === 0);
    assert.deepEqual(await dynos(), []);
  });

  it("never cuts the client's own exit status mark, however much came before it", async () => {
    const { body } = await run({
      command: `head -c 300000 /dev/zero | tr '\\0' x; printf '\\357\\277\\277 heroku-command-exit-status: 3\\n'`,
      attach: true,
      force_no_tty: true,
    });
    const { records, ended } = attach(body.attach_url);
    await ended;
    const whole = Buffer.concat(records.slice(1)).toString();
    assert.equal(whole.length, 300_000 + MARK.length + 2);
    assert.ok(records.some((record) => record.toString().startsWith(`${MARK}3`)));
  });

  it("hangs its processes up when the client leaves", async () => {
    const { body } = await run({ command: "exec sleep 1000", attach: true, force_no_tty: true });
    const { socket } = attach(body.attach_url);
    await host.until(() => host.find(body.name)?.child !== null && host.find(body.name) !== undefined);
    socket.destroy();
    await host.until(() => host.find(body.name) === undefined);
    assert.ok(
      rooms.lines.includes(`${body.name}: Client connection closed. Sending SIGHUP to all processes`),
    );
  });

  it("gives an attached one up whose client does not come (R13), and lets nobody in later", async () => {
    const quick = createFormation(rooms.control, { clientMs: 1 });
    const { owner } = rooms.control.accounts;
    const dyno = await quick.run(app, owner, {
      command: "touch never",
      attach: true,
      env: {},
      terminal: true,
      columns: 80,
      lines: 24,
      timeToLive: 0,
    });
    while ((await dynos()).includes(dyno.name)) await new Promise(setImmediate);
    assert.deepEqual(
      rooms.lines.filter((line) => line.startsWith(dyno.name)),
      ["Awaiting client", "Error R13 (Attach error) -> Failed to attach to process", "Process exited"].map(
        (text) => `${dyno.name}: ${text}`,
      ),
    );
    const { records, ended } = attach(dyno.attachUrl!);
    await ended;
    assert.equal(records.length, 0);
    assert.ok(!host.starts.some((start) => start.startsWith(dyno.name)));
    await quick.close();
  });

  it("closes on a secret that nobody was given", async () => {
    const { records, ended } = attach(`rendezvous://127.0.0.1:${rooms.control.rendezvous.port}/nothing`);
    await ended;
    assert.equal(records.length, 0);
  });

  it("runs a detached one once, shows it, and stops it", async () => {
    const { body } = await run({ command: "exec sleep 1000", size: "standard-2x", time_to_live: 60 });
    assert.equal(body.size, "Standard-2X");
    assert.equal(body.attach_url, null);
    await host.until(() => host.find(body.name)?.report.state === "up");
    assert.equal(host.find(body.name)!.order.timeToLive, 60);
    assert.deepEqual(await dynos(), [body.name]);
    // A restart of the formation leaves it alone.
    await call(rooms.url, "DELETE", `/apps/${app}/dynos`);
    assert.deepEqual(await dynos(), [body.name]);
    const stop = await call(rooms.url, "POST", `/apps/${app}/dynos/${body.name}/actions/stop`);
    assert.equal(stop.status, 202);
    await host.until(() => host.find(body.name) === undefined);
    assert.deepEqual(await dynos(), []);
    assert.deepEqual(
      host.starts.filter((start) => start.startsWith(body.name)),
      [`${body.name} v2`],
    );
  });

  it("runs a process type's command when the command begins with its name", async () => {
    const { body } = await run({ command: "worker hello there" });
    assert.equal(body.command, "echo worker says hello there");
    await host.until(() => host.starts.includes(`${body.name} v2`) && host.find(body.name) === undefined);
  });

  it("refuses what cannot be run", async () => {
    assert.equal((await run({ command: " " })).status, 422);
    assert.equal((await run({})).status, 422);
    assert.equal((await run({ command: "x", size: "huge" })).status, 422);
    assert.equal((await run({ command: "x", env: { "A=B": "1" } })).status, 422);
    assert.equal((await run({ command: "x", time_to_live: 100_000 })).status, 422);
    const blank = await addApp(rooms, "blank");
    const { status, body } = await call(rooms.url, "POST", `/apps/${blank}/dynos`, { command: "x" });
    assert.equal(status, 422);
    assert.match(body.message, /push/);
  });
});

describe("output pieces", () => {
  it("begins a piece at each mark and keeps a cut one back", () => {
    const text = (pieces: Buffer[]): string[] => pieces.map(String);
    const whole = Buffer.from(`abc${MARK}12\n`);
    assert.deepEqual(text(cutPieces(whole).pieces), ["abc", `${MARK}12\n`]);
    for (let cut = 1; cut < whole.length; cut++) {
      const first = cutPieces(whole.subarray(0, cut));
      const second = cutPieces(Buffer.concat([first.rest, whole.subarray(cut)]));
      const pieces = text([...first.pieces, ...second.pieces]);
      assert.equal(pieces.join(""), whole.toString(), `cut at ${cut}`);
      assert.ok(pieces.includes(`${MARK}12\n`), `cut at ${cut}: ${JSON.stringify(pieces)}`);
      assert.equal(second.rest.length, 0);
    }
    assert.deepEqual(text(cutPieces(Buffer.from("no mark\n")).pieces), ["no mark\n"]);
    assert.equal(cutPieces(Buffer.alloc(40_000, 120)).pieces.length, 3);
  });
});
