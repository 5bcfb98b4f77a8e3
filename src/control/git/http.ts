import { type ChildProcess, execFile } from "node:child_process";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { rawBodies } from "../api/server.ts";
import { type App, findApp } from "../apps.ts";
import type { Control } from "../control.ts";
import { ApiError, badRequest, notFound, unauthorized } from "../errors.ts";
import { answerHook } from "./push.ts";
import { Repositories } from "./repository.ts";

/*
 * Git's smart HTTP (gitprotocol-http) over plain `git upload-pack` and `git receive-pack`:
 *
 *   GET  /<app>.git/info/refs?service=git-upload-pack|git-receive-pack
 *   POST /<app>.git/git-upload-pack | git-receive-pack
 *
 * Basic authentication with the API key as password and any user name, empty too.
 */

type Service = "upload-pack" | "receive-pack";

/** A client that takes nothing for this long is given up. */
const IDLE_MS = 10 * 60_000;
const NEVER_CACHE = {
  "Cache-Control": "no-cache, max-age=0, must-revalidate",
  Expires: "0",
  Pragma: "no-cache",
};

/** `0000` ends a list of packet lines; a packet's length counts its own four digits. */
const packet = (text: string): string => (text.length + 4).toString(16).padStart(4, "0") + text;

export function register(server: FastifyInstance, control: Control): void {
  const repositories = new Repositories(path.join(control.layout.control, "git"));
  const opened = repositories.open();
  opened.catch((error) => control.log.error({ err: error }, "the git folder cannot be made"));

  server.register(async (scope) => {
    rawBodies(scope);
    const appOf = async (request: FastifyRequest): Promise<App> => {
      await opened;
      const { repo } = request.params as { repo: string };
      return findApp(control.store.pool, repo.endsWith(".git") ? repo.slice(0, -4) : repo).catch((error) => {
        if (!(error instanceof ApiError)) throw error;
        throw notFound(`app: no app is named ${repo.replace(/\.git$/, "")}`);
      });
    };
    const options = { config: { plain: true } };

    scope.get("/:repo/info/refs", options, async (request, reply) => {
      const { service } = request.query as { service?: string };
      if (service !== "git-upload-pack" && service !== "git-receive-pack") {
        throw badRequest("Only git's smart HTTP is spoken here; use git 1.6.6 or newer.");
      }
      const app = await appOf(request);
      const folder = await repositories.folderOf(app.id);
      const name = service.slice(4) as Service;
      const git = repositories.start(
        folder,
        [name, "--stateless-rpc", "--advertise-refs", "."],
        { stdio: ["ignore", "pipe", "ignore"] },
        protocolOf(request),
      );
      const head = openReply(reply, `application/x-${service}-advertisement`);
      // With protocol 2 the service line is left out by git's own server, and clients take either.
      head.write(`${packet(`# service=${service}\n`)}0000`);
      await pipeline(git.stdout!, head).catch(() => git.kill());
      return reply;
    });

    for (const service of ["upload-pack", "receive-pack"] as const) {
      scope.post(`/:repo/git-${service}`, options, async (request, reply) => {
        if (request.headers["content-type"] !== `application/x-git-${service}-request`) {
          throw new ApiError(415, "unsupported_media_type", "Only git itself can send this.");
        }
        if (!request.caller) throw unauthorized();
        const app = await appOf(request);
        const folder = await repositories.folderOf(app.id);
        const git = repositories.start(
          folder,
          [service, "--stateless-rpc", "."],
          { stdio: ["pipe", "pipe", "ignore", "pipe", "pipe"] },
          protocolOf(request),
        );
        const ended = new Promise<void>((resolve) => git.once("exit", () => resolve()));
        if (service === "receive-pack") {
          void answerHook({ control, repositories, app, actor: request.caller, folder }, git);
        }
        feed(bodyOf(request), git);
        await carry(git, openReply(reply, `application/x-git-${service}-result`), service);
        await ended;
        if (service === "receive-pack") await afterPush(control, repositories, app, folder);
        return reply;
      });
    }
  });
}

function protocolOf(request: FastifyRequest): Record<string, string> {
  const protocol = String(request.headers["git-protocol"] ?? "");
  return /^[\w=:.-]{1,200}$/.test(protocol) ? { GIT_PROTOCOL: protocol } : {};
}

function bodyOf(request: FastifyRequest): Readable {
  const body = request.body as Readable;
  const coding = request.headers["content-encoding"];
  if (!coding || coding === "identity") return body;
  if (coding !== "gzip" && coding !== "x-gzip")
    throw badRequest(`Content-Encoding ${coding} is not read here.`);
  return body.pipe(createGunzip()).on("error", () => body.destroy());
}

/** Gives git the request's body; when the client goes away half-way git sees the end of it and gives up. */
function feed(body: Readable, git: ChildProcess): void {
  git.stdin!.on("error", () => body.resume());
  pipeline(body, git.stdin!).catch(() => git.stdin!.destroy());
}

function openReply(reply: FastifyReply, type: string): FastifyReply["raw"] {
  reply.hijack();
  const raw = reply.raw;
  raw.setTimeout(IDLE_MS);
  raw.writeHead(200, { ...NEVER_CACHE, "Content-Type": type });
  return raw;
}

/**
 * Copies git's answer to the client. A pusher that goes away is only no longer told: git, its hook and the
 * build go on, and the push counts when the build is good.
 */
async function carry(git: ChildProcess, to: FastifyReply["raw"], service: Service): Promise<void> {
  let gone = false;
  to.on("close", () => {
    gone = true;
    if (service === "upload-pack") git.kill();
  });
  for await (const chunk of git.stdout!) {
    if (gone) continue;
    if (!to.write(chunk)) {
      await new Promise<void>((resolve) => {
        to.once("drain", resolve);
        to.once("close", resolve);
      });
    }
  }
  to.end();
}

/** What stands in the app after a push: HEAD for clones, and the repository's size for `apps:info`. */
async function afterPush(
  control: Control,
  repositories: Repositories,
  app: App,
  folder: string,
): Promise<void> {
  try {
    await repositories.pointHead(folder);
    const size = await folderSize(folder);
    await control.store.pool.query("UPDATE apps SET repo_size = $2 WHERE id = $1", [app.id, size]);
  } catch (error) {
    control.log.warn({ err: error, app: app.id }, "the repository's size is not known");
  }
}

const folderSize = (folder: string): Promise<number> =>
  new Promise((resolve, reject) => {
    execFile("du", ["-sb", folder], (error, stdout) =>
      error ? reject(error) : resolve(Number(stdout.split("\t")[0])),
    );
  });
