import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Part } from "../../src/config/part.ts";
import { Source } from "../../src/wire/source.ts";
import { ControlPeer, type Home, LogPeer, makeHome, needsRoot, orderFor } from "./peers.ts";

// Read when the host's modules are loaded.
process.env.SLUICE_SAMPLE_SECONDS = "0.2";
process.env.SLUICE_STOP_SECONDS = "1";
const { startHost } = await import("../../src/host/host.ts");

describe("what a dyno uses", needsRoot, () => {
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

  test("above its size it is told R14, again and again, and goes on", async () => {
    // `tail` keeps the 80 MiB line in memory for as long as it does not end.
    const hold = "(head -c 83886080 /dev/zero; sleep 1000) | tail -n 1 >/dev/null";
    control.order(orderFor("r14", "worker.1", hold));
    const error = "Error R14 (Memory quota exceeded)";
    await log.until(
      "R14 twice",
      () => log.texts("worker.1", Source.Platform).filter((line) => line === error).length >= 2,
    );
    const lines = log.texts("worker.1", Source.Platform);
    const first = lines.indexOf(error);
    const share = /^Process running mem=(\d+)M\((\d+\.\d)%\)$/.exec(lines[first - 1] ?? "");
    assert.ok(share, lines.join("\n"));
    assert.ok(Number(share[1]) > 64 && Number(share[1]) < 128 && Number(share[2]) > 100);
    assert.equal(control.reports.at(-1)?.state, "up");
    control.stop("r14");
    await control.report("r14", "down");
  });

  test("log-runtime-metrics: load and memory in Heroku's form", async () => {
    control.order(orderFor("m1", "worker.2", "while :; do :; done", { metrics: true }));
    control.order(orderFor("m2", "worker.3", "sleep 1000"));
    const number = "\\d+\\.\\d\\d";
    const head = "^source=worker\\.2 dyno=heroku\\.200100\\.m1 ";
    const load = await log.line(
      "worker.2",
      new RegExp(
        `${head}sample#load_avg_1m=${number} sample#load_avg_5m=${number} sample#load_avg_15m=${number}$`,
      ),
    );
    assert.ok(Number(/1m=([\d.]+)/.exec(load)?.[1]) >= 0);
    const size = `${number}MB`;
    const memory = await log.line(
      "worker.2",
      new RegExp(
        `${head}sample#memory_total=${size} sample#memory_rss=${size} sample#memory_cache=${size} sample#memory_swap=${size} sample#memory_pgpgin=\\d+pages sample#memory_pgpgout=\\d+pages sample#memory_quota=64\\.00MB$`,
      ),
    );
    const value = (name: string): number => Number(new RegExp(`memory_${name}=([\\d.]+)`).exec(memory)?.[1]);
    assert.ok(Math.abs(value("total") - value("rss") - value("cache") - value("swap")) < 0.05, memory);
    await log.line("worker.2", /load_avg_1m=(?!0\.00)/);
    assert.ok(!log.texts("worker.3").some((line) => line.includes("sample#")), "only where it is on");
    for (const dyno of ["m1", "m2"]) control.stop(dyno);
  });
});
