import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { atEnd } from "../at-end.ts";
import { type Sluice, startSluice, until } from "./sluice.ts";

/** What a part may hold while an app does its worst: its own at rest, the bounded buffers, and slack for the collector. */
const PART_BYTES = 400 * 1024 * 1024;

const NOISY = {
  "package.json": JSON.stringify({ name: "noisy", version: "1.0.0" }),
  Procfile: "web: node index.js\n",
  "index.js": `
    const piece = "x".repeat(1 << 20);
    let printed = 0;
    const print = () => { if (printed++ < 100) process.stdout.write(piece, print); };
    require("node:http").createServer((request, response) => {
      if (request.url === "/noise") { print(); return response.end("printing"); }
      if (request.url === "/flood") {
        const pour = () => { while (response.write(piece)) ; };
        response.on("drain", pour);
        return pour();
      }
      response.end(String(printed));
    }).listen(process.env.PORT);`,
};

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024;

function assertBounded(sluice: Sluice, when: string): void {
  for (const [pid, part] of sluice.parts()) {
    const bytes = residentBytes(pid);
    assert.ok(bytes < PART_BYTES, `${part} holds ${Math.round(bytes / 1e6)} MB ${when}`);
  }
}

test("100 MB without a newline, and clients that never read, neither grow memory nor slow another app", async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy("noisy", "", NOISY);
  await sluice.deploy("quiet", "node-hello");
  await until(async () => (await sluice.get("quiet")).status === 200, "the quiet app");

  const { hostname, port } = new URL(sluice.edge);
  for (let i = 0; i < 8; i++) {
    const socket = net.connect(Number(port), hostname, () =>
      socket.write("GET /flood HTTP/1.1\r\nHost: noisy.localhost\r\n\r\n"),
    );
    socket.on("error", () => {});
    socket.pause();
    atEnd(t, () => socket.destroy());
  }
  assert.equal((await sluice.get("noisy", "/noise")).body, "printing");
  await until(
    async () => {
      assert.equal((await sluice.get("quiet")).status, 200);
      assertBounded(sluice, "under noise");
      return Number((await sluice.get("noisy")).body) > 100;
    },
    "the noisy app to have printed everything",
    120_000,
  );
  await sluice.get("quiet", "/after-the-noise");
  await until(
    async () => /after-the-noise/.test(await sluice.must(["logs", "-a", "quiet"])),
    "the quiet app's log line",
  );
  assertBounded(sluice, "after the noise");
});
