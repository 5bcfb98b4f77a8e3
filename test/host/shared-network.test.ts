import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import type { Part } from "../../src/config/part.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor, soon } from "./peers.ts";

process.env.SLUICE_STOP_SECONDS = "1";
const { startHost } = await import("../../src/host/host.ts");

describe("boxes on the machine's network", needsRoot, () => {
  let home: Home;
  let control: ControlPeer;
  let log: LogPeer;
  let host: Part;

  before(async () => {
    home = makeHome({ SLUICE_DYNO_NETWORK: "host" });
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

  test("the start says so, and no bridge, namespace or rule is made", () => {
    assert.match(host.notes.join(), /share this machine's network \(SLUICE_DYNO_NETWORK=host\)/);
    const { stdout } = spawnSync("iptables-save", { encoding: "utf8" });
    assert.ok(!stdout.includes(home.layout.mark.slice(0, 8)));
  });

  test("a dyno is up only when the socket that listens on its port is its own", async () => {
    // Its port stands in its environment; it tells it, and listens when it is told to.
    const command = `echo "port $PORT"; while ! timeout 1 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && head -c 2 <&3 | grep -q go"; do sleep 0.1; done; exec node -e 'const listen = () => require("net").createServer((s) => s.end("mine")).on("error", () => setTimeout(listen, 20)).listen(process.env.PORT); listen()'`;
    control.order(orderFor("s1", "web.1", command));
    const told = await log.line("web.1", /^port \d+$/);
    const port = Number(told.slice(5));
    // Another program of the machine is there first.
    let say = "no";
    const asked = { count: 0 };
    const squatter = net.createServer((socket) => {
      asked.count += 1;
      socket.on("error", () => {});
      socket.end(say);
    });
    await new Promise<void>((resolve, reject) => {
      squatter.on("error", reject);
      squatter.listen(port, resolve);
    });
    await soon("the dyno to have asked", () => asked.count > 2);
    assert.ok(
      !control.reports.some(({ dyno, state }) => dyno === "s1" && state === "up"),
      "not by another's",
    );
    say = "go";
    const gone = asked.count;
    await soon("the dyno to have leave", () => asked.count > gone);
    await new Promise((closed) => squatter.close(closed));
    const up = await control.report("s1", "up");
    assert.deepEqual([up.address, up.port], ["127.0.0.1", port]);
    const said = await new Promise<string>((resolve, reject) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.on("data", (chunk) => resolve(chunk.toString()));
      socket.on("error", reject);
    });
    assert.equal(said, "mine");
    control.stop("s1");
    await control.report("s1", "down");
  });
});
