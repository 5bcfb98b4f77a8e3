import { createHash } from "node:crypto";
import { chown, mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { FetchOrder, FetchResult, Limits } from "../../wire/orders.ts";
import { FETCH_ORDER, FETCH_RESULT } from "../../wire/orders.ts";
import type { Box } from "../box/box.ts";
import type { HostContext, HostRoom } from "../context.ts";
import { removeTree } from "../removal.ts";

const FETCH_LIMITS: Limits = { memoryBytes: 512 * 1024 * 1024, processes: 64, cpuShares: 1 };
/** uid of fetching boxes: no app's; theirs begin at 200000. */
const FETCH_UID = 199_999;

/*
 * Clones the wanted ref alone, when it is a branch or tag; a commit needs the whole history. The tree goes out
 * as a tar without .git; what git says on the way is kept for the error message.
 */
const CLONE = `
set -e
if [ -n "$REF" ]; then
  git clone --quiet --depth 1 --branch "$REF" -- "$REPOSITORY" tree 2>/out/said ||
    { rm -rf tree; git clone --quiet -- "$REPOSITORY" tree 2>/out/said && git -C tree checkout --quiet "$REF" -- 2>>/out/said; }
else
  # A server of plain files gives no shallow clone.
  git clone --quiet --depth 1 -- "$REPOSITORY" tree 2>/out/said ||
    { rm -rf tree; git clone --quiet -- "$REPOSITORY" tree 2>/out/said; }
fi
git -C tree rev-parse HEAD >/out/commit
cd tree
rm -rf .git
exec tar --create --file=- .
`;

/** Fetches of git repositories, each in a box on the machine's network behind control's egress proxy. */
export class FetchRoom implements HostRoom {
  #context: HostContext;
  #boxes = new Set<Box>();

  constructor(context: HostContext) {
    this.#context = context;
  }

  builds(): string[] {
    return [];
  }

  take(kind: number, message: unknown): boolean {
    if (kind !== FETCH_ORDER) return false;
    void this.#fetch(message as FetchOrder);
    return true;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#boxes].map((box) => box.kill()));
  }

  async #fetch(order: FetchOrder): Promise<void> {
    let result: FetchResult;
    try {
      result = await this.#clone(order);
    } catch (error) {
      result = { fetch: order.fetch, ok: false, message: (error as Error).message, commit: null };
    }
    this.#context.send(FETCH_RESULT, result);
  }

  async #clone(order: FetchOrder): Promise<FetchResult> {
    const { slugs, boxes, openStream } = this.#context;
    const work = await slugs.workFolder();
    const stream = await openStream(order.stream);
    stream.on("error", () => {});
    try {
      for (const name of ["out", "git"]) {
        await mkdir(path.join(work, name));
        if (process.getuid?.() === 0) await chown(path.join(work, name), FETCH_UID, FETCH_UID);
      }
      const box = await boxes.start({
        id: `fetch-${createHash("sha256").update(order.fetch).digest("hex").slice(0, 32)}`,
        uid: FETCH_UID,
        gid: FETCH_UID,
        lower: null,
        mounts: [
          { source: path.join(work, "out"), target: "/out", writable: true },
          { source: path.join(work, "git"), target: "/git", writable: true },
        ],
        env: {
          PATH: "/usr/local/bin:/usr/bin:/bin",
          HOME: "/git",
          REPOSITORY: order.url,
          REF: order.ref ?? "",
          http_proxy: order.proxy,
          https_proxy: order.proxy,
          GIT_ALLOW_PROTOCOL: "https:http",
          GIT_TERMINAL_PROMPT: "0",
          GIT_CONFIG_NOSYSTEM: "1",
          LC_ALL: "C.UTF-8",
        },
        cwd: "/git",
        argv: ["sh", "-c", CLONE],
        stdio: ["null", stream, "null"],
        limits: FETCH_LIMITS,
        network: "machine",
        hostname: "fetch",
      });
      this.#boxes.add(box);
      const timer = setTimeout(() => void box.kill(), order.timeoutSeconds * 1000);
      const end = await box.exited;
      clearTimeout(timer);
      await box.kill();
      await box.free();
      this.#boxes.delete(box);
      const told = async (name: string): Promise<string> =>
        (await readFile(path.join(work, "out", name), "utf8").catch(() => "")).slice(0, 2000).trim();
      if (end.status === 0)
        return { fetch: order.fetch, ok: true, message: null, commit: await told("commit") };
      const said = (await told("said"))
        .split("\n")
        .at(-1)
        ?.replace(/\/\/[^/@ ]*@/g, "//");
      const message = end.fault ?? (end.killed ? "it took too long." : said || "git failed.");
      return { fetch: order.fetch, ok: false, message, commit: null };
    } finally {
      stream.end();
      await removeTree(work);
    }
  }
}
