import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import { run } from "./sluice.ts";

/*
 * The least that a git push can be: git's own HTTP server, a hook that checks the tree out, starts the new
 * process, waits until it listens, and only then switches a relay to it and stops the old one. No build, no
 * slug, no release, no box, no log: what Sluice's seconds are to be read beside.
 */

export interface BareHook {
  url: string;
  port: number;
  stop(): Promise<void>;
}

const listen = (server: net.Server): Promise<number> =>
  new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)),
  );

/** Resolves when something listens on `port`. */
async function listens(port: number): Promise<void> {
  for (;;) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts the peer with everything below `folder`. */
export async function startBareHook(folder: string, env: NodeJS.ProcessEnv): Promise<BareHook> {
  const repository = path.join(folder, "bare.git");
  mkdirSync(folder, { recursive: true });
  await run("git", ["init", "-q", "--bare", "-b", "main", repository], { cwd: folder, env });
  await run("git", ["-C", repository, "config", "http.receivepack", "true"], { cwd: folder, env });

  let upstream = 0;
  let running: ChildProcess | null = null;
  /** Connections that the old process still answers: it is stopped when they have ended. */
  let open = new Set<net.Socket>();

  const relay = net.createServer((client) => {
    const server = net.connect(upstream, "127.0.0.1");
    const mine = open;
    mine.add(server);
    server.on("close", () => mine.delete(server));
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.pipe(other);
    }
  });

  const deploy = async (tree: string): Promise<void> => {
    const port = await freePort();
    const next = spawn(process.execPath, ["index.js"], {
      cwd: tree,
      env: { ...env, PORT: String(port) },
      stdio: "ignore",
    });
    await listens(port);
    const [old, rest] = [running, open];
    [upstream, running, open] = [port, next, new Set()];
    if (!old) return;
    const drained = setInterval(() => {
      if (rest.size > 0) return;
      clearInterval(drained);
      old.kill("SIGTERM");
    }, 10);
  };

  const web = http.createServer((request, response) => {
    const url = new URL(request.url!, "http://localhost");
    if (url.pathname === "/deploy") {
      void deploy(url.searchParams.get("tree")!).then(() => response.end("ok"));
      return;
    }
    void gitBackend(request, response, url, folder, env);
  });
  const webPort = await listen(web);
  const hook = path.join(repository, "hooks/post-receive");
  writeFileSync(
    hook,
    `#!/bin/sh
while read old new ref; do
  tree="${folder}/tree-$new"
  mkdir -p "$tree" && git archive "$new" | tar -x -C "$tree"
  exec curl -sf "http://127.0.0.1:${webPort}/deploy?tree=$tree"
done
`,
  );
  chmodSync(hook, 0o755);
  const port = await listen(relay);
  return {
    url: `http://127.0.0.1:${webPort}/bare.git`,
    port,
    async stop() {
      running?.kill("SIGKILL");
      relay.close();
      web.closeAllConnections();
      web.close();
    },
  };
}

/** One request to git's own CGI program. */
async function gitBackend(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  url: URL,
  root: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const backend = spawn("git", ["http-backend"], {
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      ...env,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      CONTENT_LENGTH: request.headers["content-length"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      REMOTE_USER: "bench",
    },
  });
  backend.stdin.on("error", () => {});
  request.pipe(backend.stdin);
  let head = Buffer.alloc(0);
  let inBody = false;
  for await (const chunk of backend.stdout as AsyncIterable<Buffer>) {
    if (inBody) {
      response.write(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) continue;
    inBody = true;
    for (const line of head.subarray(0, end).toString("latin1").split("\r\n")) {
      const [name, value] = line.split(": ", 2) as [string, string];
      if (name === "Status") response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.write(head.subarray(end + 4));
  }
  response.end();
}
