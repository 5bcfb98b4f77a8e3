import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { type Sluice, startSluice, until } from "./sluice.ts";

/** An app that counts what reaches it. */
const COUNTER = {
  "package.json": JSON.stringify({ name: "counter", version: "1.0.0" }),
  Procfile: "web: node index.js\n",
  "index.js": `
    let seen = [];
    require("node:net").createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        const text = chunk.toString("latin1");
        const body = text.startsWith("GET /seen ") ? JSON.stringify(seen) : "ok";
        if (body === "ok") seen.push(text);
        socket.write("HTTP/1.1 200 OK\\r\\nContent-Length: " + Buffer.byteLength(body) + "\\r\\n\\r\\n" + body);
      });
    }).listen(process.env.PORT);`,
};

/** Sends bytes as they are; what came back until the edge closed, or one whole answer head came. */
function raw(sluice: Sluice, bytes: string): Promise<string> {
  const { hostname, port } = new URL(sluice.edge);
  return new Promise((resolve) => {
    let text = "";
    const socket = net.connect(Number(port), hostname, () => socket.write(bytes, "latin1"));
    socket.setEncoding("latin1").on("data", (chunk) => {
      text += chunk;
      if (text.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
}

test("bad requests get 4xx or 5xx or a closed connection, and never reach a dyno", async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy("counter", "", COUNTER);
  await until(async () => (await sluice.get("counter")).status === 200, "the app");
  const before = JSON.parse((await sluice.get("counter", "/seen")).body) as string[];
  const host = "Host: counter.localhost\r\n";
  const bad: Record<string, string> = {
    "both lengths": `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    "two lengths": `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd`,
    "length with a sign": `POST / HTTP/1.1\r\n${host}Content-Length: +4\r\n\r\nabcd`,
    "bad chunk size": `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n`,
    "unknown coding": `POST / HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
    "two hosts": `GET / HTTP/1.1\r\n${host}Host: other.localhost\r\n\r\n`,
    "no host": "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "bare line feeds": "GET / HTTP/1.1\nHost: counter.localhost\n\n",
    "long header": `GET / HTTP/1.1\r\n${host}X-Long: ${"a".repeat(70_000)}\r\n\r\n`,
    "many headers": `GET / HTTP/1.1\r\n${host}${Array.from({ length: 1200 }, (_, i) => `X-${i}: 1\r\n`).join("")}\r\n`,
    "space before the colon": `GET / HTTP/1.1\r\n${host}X-Odd : 1\r\n\r\n`,
    "NUL in a header": `GET / HTTP/1.1\r\n${host}X-Odd: a\0b\r\n\r\n`,
    "unknown version": `GET / HTTP/3.9\r\n${host}\r\n`,
  };
  await Promise.all(
    Object.entries(bad).map(async ([name, bytes]) => {
      const answer = await raw(sluice, bytes);
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1];
      assert.ok(
        answer === "" || ["400", "431", "501", "505"].includes(status!),
        `${name}: ${answer.slice(0, 200)}`,
      );
    }),
  );
  assert.deepEqual(
    JSON.parse((await sluice.get("counter", "/seen")).body),
    before,
    "nothing bad reached the dyno",
  );
  assert.equal((await sluice.get("counter")).body, "ok");
});
