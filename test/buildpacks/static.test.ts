import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

const SERVER = path.resolve(import.meta.dirname, "../../../buildpacks/static/lib/server.js");

describe("the static buildpack's server", () => {
  let folder: string;
  let server: ChildProcess;
  let port = 0;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "sluice-static-"));
    mkdirSync(path.join(folder, ".heroku/static"), { recursive: true });
    mkdirSync(path.join(folder, "public/sub"), { recursive: true });
    cpSync(SERVER, path.join(folder, ".heroku/static/server.js"));
    writeFileSync(path.join(folder, ".heroku/static/root"), "public");
    writeFileSync(path.join(folder, "secret.txt"), "secret");
    writeFileSync(path.join(folder, "public/index.html"), "<h1>home</h1>");
    writeFileSync(path.join(folder, "public/404.html"), "<h1>gone</h1>");
    writeFileSync(path.join(folder, "public/sub/index.html"), "<h1>sub</h1>");
    writeFileSync(path.join(folder, "public/a.css"), "0123456789");
    writeFileSync(path.join(folder, "public/.hidden"), "hidden");
    symlinkSync("../secret.txt", path.join(folder, "public/out"));
    server = spawn(process.execPath, [path.join(folder, ".heroku/static/server.js")], {
      env: { PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = await once(server.stdout!, "data");
    port = Number(/port (\d+)/.exec(String(line))?.[1] ?? 0);
  });
  after(async () => {
    server.kill();
    await once(server, "exit");
    rmSync(folder, { recursive: true, force: true });
  });

  const ask = (
    at: string,
    headers: Record<string, string> = {},
    method = "GET",
  ): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: string }> =>
    new Promise((resolve, reject) => {
      const request = http.request({ port, path: at, headers, method, agent: false }, (answer) => {
        let body = "";
        answer.on("data", (chunk: Buffer) => {
          body += chunk;
        });
        answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
      });
      request.on("error", reject).end();
    });

  it("serves files with their types, index pages and a page for what is missing", async () => {
    const home = await ask("/?x=1");
    assert.equal(home.body, "<h1>home</h1>");
    assert.equal(home.headers["content-type"], "text/html; charset=utf-8");
    assert.equal((await ask("/a.css")).headers["content-type"], "text/css; charset=utf-8");
    assert.equal((await ask("/sub")).headers.location, "/sub/");
    assert.equal((await ask("//sub")).headers.location, "/sub/");
    assert.equal((await ask("/sub/")).body, "<h1>sub</h1>");
    const gone = await ask("/none");
    assert.deepEqual([gone.status, gone.body], [404, "<h1>gone</h1>"]);
    assert.equal((await ask("/a.css", {}, "HEAD")).headers["content-length"], "10");
    assert.equal((await ask("/a.css", {}, "POST")).status, 405);
  });

  it("never leaves its folder", async () => {
    for (const at of [
      "/../secret.txt",
      "/%2e%2e/secret.txt",
      "/sub/..%2f..%2fsecret.txt",
      "/out",
      "/.hidden",
      "/%00",
      "/%zz",
    ]) {
      const { status, body } = await ask(at);
      assert.equal(status, 404, at);
      assert.doesNotMatch(body, /secret|hidden/);
    }
  });

  it("answers ranges and conditional requests", async () => {
    const part = await ask("/a.css", { Range: "bytes=2-4" });
    assert.deepEqual([part.status, part.body, part.headers["content-range"]], [206, "234", "bytes 2-4/10"]);
    assert.equal((await ask("/a.css", { Range: "bytes=-3" })).body, "789");
    assert.equal((await ask("/a.css", { Range: "bytes=20-" })).status, 416);
    const etag = (await ask("/a.css")).headers.etag!;
    assert.equal((await ask("/a.css", { "If-None-Match": etag })).status, 304);
  });
});
