import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ControlPeer, LogPeer, makeHome, needsRoot, orderFor } from "./peers.ts";

const RUN_HOST = fileURLToPath(new URL("./run-host.js", import.meta.url));
const RESOLVER = "127.0.0.77";

/** A name server that answers 192.0.2.7 to every question for an address. */
function serveNames(): Promise<dgram.Socket> {
  const server = dgram.createSocket("udp4", (query, from) => {
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const isAddress = question.readUInt16BE(question.length - 4) === 1;
    const answer = isAddress ? Buffer.from("c00c00010001000000050004c0000207", "hex") : Buffer.alloc(0);
    const head = Buffer.from([query[0]!, query[1]!, 0x81, 0x80, 0, 1, 0, isAddress ? 1 : 0, 0, 0, 0, 0]);
    server.send(Buffer.concat([head, question, answer]), from.port, from.address);
  });
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.bind(53, RESOLVER, () => resolve(server));
  });
}

test(
  "a machine whose resolver is on its loopback: boxes reach it at the bridge's address",
  needsRoot,
  async () => {
    const server = await serveNames();
    const home = makeHome();
    const control = await ControlPeer.open(home.layout);
    const log = await LogPeer.open(home.layout);
    // The machine's file, as this host alone sees it.
    const file = path.join(home.folder, "resolv.conf");
    writeFileSync(file, `nameserver ${RESOLVER}\n`);
    const script = 'mount --bind "$1" /etc/resolv.conf && exec "$2" "$3"';
    const host = spawn("unshare", ["--mount", "sh", "-c", script, "sh", file, process.execPath, RUN_HOST], {
      env: { PATH: process.env.PATH, SLUICE_STOP_SECONDS: "1", ...home.env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    try {
      await control.until("the host", () => control.inventories[0]);
      assert.deepEqual(control.inventories[0]?.missing, []);
      control.order(
        orderFor("q1", "run.1", "cat /etc/resolv.conf; getent ahostsv4 name.example | head -n 1", {
          kind: "run",
        }),
      );
      await control.report("q1", "complete");
      await log.line("run.1", /^192\.0\.2\.7 /);
      assert.ok(!log.texts("run.1").some((line) => line.includes("127.")));
      control.stop("q1");
    } finally {
      const gone = new Promise((exit) => host.once("exit", exit));
      host.send("stop");
      await gone;
      control.close();
      log.close();
      server.close();
      home.remove();
    }
  },
);
