import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type http from "node:http";
import { test } from "node:test";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import { peer } from "./peer.ts";
import { MAIN, sluice } from "./sluice.ts";

const line = (number: number, ps = "web.1"): string =>
  `2026-01-01T00:00:00.00000${number}+00:00 app[${ps}]: line ${number}\n`;

/** An API whose log session is at itself. */
async function logPeer(t: Parameters<typeof peer>[0], serve: (response: http.ServerResponse) => void) {
  let url = "";
  const made = await peer(t, {
    "POST /apps/hello/log-sessions": (_, response) => {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ id: "1", logplex_url: `${url}/sessions/secret` }));
    },
    "GET /sessions/secret": (_, response) => serve(response),
  });
  url = made.url;
  return {
    ...made,
    env: { ...made.env, SLUICE_APP: "hello", PATH: process.env.PATH!, HOME: "/nonexistent" },
  };
}

test("logs asks for what was said, prints it, and sends no key to the session", async (t) => {
  const { env, seen } = await logPeer(t, (response) => response.end(line(1) + line(2, "router")));
  const result = await sluice(["logs", "-n", "5", "--source", "app", "--ps", "web"], { env });
  assert.deepEqual(result, { status: 0, out: line(1) + line(2, "router"), err: "" });
  assert.deepEqual(seen[0]!.body, { lines: 5, tail: false, source: "app", dyno: "web" });
  assert.equal(seen[1]!.headers.accept, "text/plain");
  assert.equal(seen[1]!.headers.authorization, undefined);
});

test("a tail that breaks off goes on where it was, without a line twice", async (t) => {
  let opened = 0;
  const { env } = await logPeer(t, (response) => {
    opened++;
    if (opened === 1) {
      response.write(line(1));
      response.write(line(2), () => response.destroy());
    } else response.write(line(1) + line(2) + line(3));
  });
  const child = spawn(process.execPath, [MAIN, "logs", "--tail"], {
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => child.kill("SIGKILL"));
  let out = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) {
    out += chunk;
    if (out.includes("line 3")) break;
  }
  assert.equal(out, line(1) + line(2) + line(3));
  assert.equal(opened, 2);
});

test("colours are for a terminal alone, and not under NO_COLOR", async (t) => {
  const { env } = await logPeer(t, (response) => response.end(line(1)));
  const shown = (more: Record<string, string>): Promise<string> =>
    new Promise((resolve) => {
      const terminal = spawnTerminal(process.execPath, [MAIN, "logs"], {
        cols: 200,
        env: { ...env, ...more },
      });
      let text = "";
      terminal.onData((part) => {
        text += part;
      });
      terminal.onExit(() => resolve(text.replaceAll("\u001B", "ESC")));
    });
  assert.match(await shown({ TERM: "xterm" }), /^ESC\[\d+m2026-.* app\[web\.1\]:ESC\[0m line 1\r\n$/);
  assert.equal(await shown({ TERM: "xterm", NO_COLOR: "1" }), line(1).replace("\n", "\r\n"));
});

test("a reader that goes away ends the command quietly", async (t) => {
  const { env } = await logPeer(t, (response) => response.end(line(1).repeat(200_000)));
  const child = spawn(process.execPath, [MAIN, "logs"], { env, stdio: ["ignore", "pipe", "pipe"] });
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  child.stdout.once("data", () => child.stdout.destroy());
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.deepEqual([status, err], [0, ""]);
});
