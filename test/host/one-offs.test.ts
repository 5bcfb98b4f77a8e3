import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Part } from "../../src/config/part.ts";
import { DYNO_SIGNAL } from "../../src/wire/orders.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

process.env.SLUICE_STOP_SECONDS = "1";
const { startHost } = await import("../../src/host/host.ts");

describe("one-off dynos", needsRoot, () => {
  let home: Home;
  let control: ControlPeer;
  let log: LogPeer;
  let host: Part;

  before(async () => {
    home = makeHome();
    control = await ControlPeer.open(home.layout);
    log = await LogPeer.open(home.layout);
    host = await startHost(home.config, home.layout);
  });
  after(async () => {
    await host.stop(true);
    control.close();
    log.close();
    home.remove();
  });

  test("its time to live over, it is stopped, and it is not run again when control asks anew", async () => {
    control.order(orderFor("ttl", "run.1", "echo began; sleep 1000", { kind: "run", timeToLive: 1 }));
    const done = await control.report("ttl", "complete");
    assert.equal(done.status, 143);
    await log.line("run.1", "Stopping all processes with SIGTERM");
    await log.line("run.1", "State changed from up to complete");
    // The order still stands: the link's next inventory tells that the dyno is complete.
    const seen = control.inventories.length;
    for (const link of control.links) link.socket.destroy();
    const inventory = await control.until("inventory", () => control.inventories[seen]);
    assert.deepEqual(
      inventory.dynos.map(({ dyno, state, status }) => [dyno, state, status]),
      [["ttl", "complete", 143]],
    );
    control.stop("ttl");
    control.order(orderFor("next", "run.2", "true", { kind: "run" }));
    await control.report("next", "complete");
    assert.equal(log.texts("run.1").filter((line) => line === "began").length, 1);
    control.stop("next");
  });

  test("a client that is gone: SIGHUP reaches every process; what ignores it goes on until it is stopped", async () => {
    const attach = { stream: "hup", terminal: true, columns: 80, lines: 24 };
    const command = `trap 'echo parent HUP' HUP; (trap 'echo child HUP >/tmp/child; exit' HUP; while :; do sleep 0.05; done) & echo ready; while ! [ -f /tmp/child ]; do sleep 0.05; done; cat /tmp/child; sleep 1000`;
    control.order(orderFor("hup", "run.3", command, { kind: "run", attach }));
    const stream = await control.until("stream", () => control.streams.get("hup"));
    let text = "";
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await soon("the command", () => text.includes("ready"));
    control.send(DYNO_SIGNAL, { dyno: "hup", signal: "SIGHUP" });
    await soon("both to have it", () => text.includes("parent HUP") && text.includes("child HUP"));
    stream.destroy();
    control.stop("hup");
    const done = await control.report("hup", "complete");
    assert.equal(done.status, 143);
  });
});
