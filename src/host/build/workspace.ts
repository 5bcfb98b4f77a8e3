import { createWriteStream, existsSync, lstatSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import {
  chmod,
  chown,
  cp,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  stat,
  writeFile,
} from "node:fs/promises";
import type net from "node:net";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import type { BuildOrder } from "../../wire/orders.ts";
import type { BoxMount } from "../box/spec.ts";
import { removeTree } from "../removal.ts";

/** Bounds of a source: bytes unpacked and files (design section 8.3). */
const SOURCE_BYTES = 1024 * 1024 * 1024;
const SOURCE_ENTRIES = 200_000;
/** What the build tells of itself is smaller than this. */
const RESULT_LIMIT = 1024 * 1024;

/** The folder of this module in the checkout, seen from the sources and from dist. */
const CHECKOUT = checkoutOf(path.dirname(fileURLToPath(import.meta.url)));
const TOOLS = path.join(CHECKOUT, "src/host/build");
const TOOL_NAMES = ["build.sh", "step.sh", "unpack.pl", "manifest.pl"];
export const SHIPPED_FOLDER = path.join(CHECKOUT, "buildpacks");

function checkoutOf(folder: string): string {
  let at = folder;
  while (!(existsSync(path.join(at, "package.json")) && existsSync(path.join(at, "buildpacks")))) {
    const up = path.dirname(at);
    if (up === at) throw new Error(`No checkout of Sluice lies around ${folder}.`);
    at = up;
  }
  return at;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const asArray = (values: string[]): string => `(${values.map(quote).join(" ")})`;

/**
 * The folders of one build on the machine, below `work`:
 *
 *   tmp     /tmp in the box: build_<8 hex> (the tree), codon/tmp/cache, codon/tmp/buildpacks/<n>, env_<8 hex>
 *   app     /app in the box, empty and writable
 *   tools   /run/build, read-only: the scripts and this build's settings
 *   out     /run/out: what the build tells of itself
 */
export class Workspace {
  readonly work: string;
  readonly order: BuildOrder;
  readonly #names: { build: string; env: string };
  #packs: { folder: string; archive: string; name: string }[] = [];

  constructor(work: string, order: BuildOrder) {
    this.work = work;
    this.order = order;
    const hex = order.build.replaceAll("-", "").slice(0, 8);
    this.#names = { build: `build_${hex}`, env: `env_${hex}` };
  }

  #at(...names: string[]): string {
    return path.join(this.work, ...names);
  }

  /** The app's tree: a folder once the build has ended well. */
  get tree(): string {
    return this.#at("tmp", this.#names.build);
  }

  /** Lays everything but what comes by streams. `keptCache` is the app's cache, moved in when it is there. */
  async lay(keptCache: string, allowedPacks: readonly string[]): Promise<void> {
    const { order } = this;
    for (const name of ["tmp/codon/tmp/buildpacks", `tmp/${this.#names.build}`, `tmp/${this.#names.env}`]) {
      await mkdir(this.#at(name), { recursive: true, mode: 0o755 });
    }
    for (const name of ["app", "tools", "out"]) await mkdir(this.#at(name), { mode: 0o755 });
    if (existsSync(keptCache)) {
      if (order.clearCache) await removeTree(keptCache);
      else await rename(keptCache, this.#at("tmp/codon/tmp/cache")).catch(() => {});
    }
    for (const [name, value] of Object.entries(order.env)) {
      if (/^\w+$/.test(name)) await writeFile(this.#at("tmp", this.#names.env, name), value);
    }
    const choose = order.buildpacks.length === 0;
    const packs = choose
      ? (await shippedNames()).map((name) => ({ name: `heroku/${name}`, shipped: name, stream: null }))
      : order.buildpacks;
    this.#packs = await Promise.all(
      packs.map(async (pack, index) => {
        const folder = this.#at("tmp/codon/tmp/buildpacks", packHash(order.build, index));
        await mkdir(folder);
        if (pack.shipped !== null) await copyPack(pack.shipped, folder, allowedPacks);
        return {
          name: pack.name,
          folder: `/tmp/codon/tmp/buildpacks/${path.basename(folder)}`,
          archive: pack.stream ? `/tmp/codon/tmp/buildpacks/${path.basename(folder)}.tar` : "",
        };
      }),
    );
    await Promise.all(TOOL_NAMES.map((name) => cp(path.join(TOOLS, name), this.#at("tools", name))));
    await writeFile(this.#at("tools/sources.list"), await packageSources());
    await writeFile(this.#at("tools/settings"), this.#settings(choose));
    await chmod(this.#at("tools"), 0o755);
    for (const name of await readdir(this.#at("tools"))) await chmod(this.#at("tools", name), 0o644);
  }

  #settings(choose: boolean): string {
    const { stack } = this.order;
    const values: Record<string, string> = {
      build: quote(`/tmp/${this.#names.build}`),
      cache: quote("/tmp/codon/tmp/cache"),
      env_dir: quote(`/tmp/${this.#names.env}`),
      source: quote("/tmp/codon/tmp/source"),
      out: quote("/run/out"),
      stack_name: quote(stack.replace(/^heroku/, "Heroku")),
      choose: choose ? "yes" : "no",
      strip: this.order.clampTime === 0 ? "strip" : "''",
      source_bytes: String(SOURCE_BYTES),
      source_entries: String(SOURCE_ENTRIES),
      packs: asArray(this.#packs.map(({ folder }) => folder)),
      archives: asArray(this.#packs.map(({ archive }) => archive)),
      names: asArray(this.#packs.map(({ name }) => name)),
    };
    return `${Object.entries(values)
      .map(([name, value]) => `${name}=${value}`)
      .join("\n")}\n`;
  }

  /** Takes the source and the buildpacks that come by streams, then gives all to the build's user. */
  async fill(openStream: (id: string) => Promise<net.Socket>): Promise<void> {
    const take = async (id: string, name: string): Promise<void> =>
      pipeline(await openStream(id), createWriteStream(this.#at("tmp/codon/tmp", name), { mode: 0o600 }));
    await Promise.all([
      take(this.order.source, "source"),
      ...this.order.buildpacks.map(async ({ stream }, index) => {
        if (stream) await take(stream, `buildpacks/${packHash(this.order.build, index)}.tar`);
      }),
    ]);
    if (process.getuid?.() !== 0) return;
    for (const name of ["app", "out"]) await chown(this.#at(name), this.order.uid, this.order.uid);
    await chown(this.#at("tmp"), this.order.uid, this.order.uid);
    await chmod(this.#at("tmp"), 0o1777);
    await giveTo(this.#at("tmp"), this.order.uid, this.#at("tmp/codon/tmp/cache"));
  }

  /** Mounts of the box that builds. */
  mounts(operatorEnv: Record<string, string>, home: string): BoxMount[] {
    return [
      { source: this.#at("tmp"), target: "/tmp", writable: true },
      { source: this.#at("app"), target: "/app", writable: true },
      { source: this.#at("tools"), target: "/run/build", writable: false },
      { source: this.#at("out"), target: "/run/out", writable: true },
      // The shipped buildpacks read JSON before the app's own runtime is there.
      { source: process.execPath, target: "/run/node", writable: false },
      { source: this.#at("tools/sources.list"), target: "/etc/apt/sources.list", writable: false },
      ...APT.filter((file) => existsSync(file)).map((file) => ({
        source: file,
        target: file,
        writable: false,
      })),
      ...operatorFiles(operatorEnv, home).map((mount) => this.#point(mount)),
    ];
  }

  /** Makes the mount's place where it lies in a folder of the build's own, which hides those that a box makes. */
  #point(mount: BoxMount): BoxMount {
    if (!/^\/(tmp|app)\//.test(mount.target)) return mount;
    const point = this.#at(mount.target);
    const isFolder = statSync(mount.source).isDirectory();
    mkdirSync(isFolder ? point : path.dirname(point), { recursive: true, mode: 0o755 });
    if (!isFolder) writeFileSync(point, "", { flag: "a" });
    return mount;
  }

  /** What the build has told; empty when nothing. Read after its box is gone. */
  async records(): Promise<[kind: string, key: string, value: string][]> {
    // The folder is the build's own: a link there leads nowhere.
    const flags = 0x20000; // O_NOFOLLOW
    const handle = await open(this.#at("out/result"), flags).catch(() => null);
    if (!handle) return [];
    try {
      const { size } = await handle.stat();
      if (size > RESULT_LIMIT) return [];
      const fields = (await handle.readFile("utf8")).split("\0");
      const records: [string, string, string][] = [];
      for (let at = 0; at + 3 < fields.length; at += 3) {
        records.push([fields[at]!, fields[at + 1]!, fields[at + 2]!]);
      }
      return records;
    } finally {
      await handle.close();
    }
  }

  /** True when the tree is a folder reached through folders only; nothing runs in it any more. */
  isWhole(): boolean {
    return isFolder(this.#at("tmp")) && isFolder(this.tree);
  }

  /** Keeps the cache of a good build for the next one. */
  async keepCache(keptCache: string): Promise<void> {
    for (const name of ["tmp", "tmp/codon", "tmp/codon/tmp", "tmp/codon/tmp/cache"]) {
      if (!isFolder(this.#at(name))) return;
    }
    await mkdir(path.dirname(keptCache), { recursive: true, mode: 0o700 });
    await removeTree(keptCache);
    await rename(this.#at("tmp/codon/tmp/cache"), keptCache).catch(() => {});
  }

  async remove(): Promise<void> {
    await removeTree(this.work);
  }
}

const isFolder = (file: string): boolean =>
  lstatSync(file, { throwIfNoEntry: false })?.isDirectory() === true;

const packHash = (build: string, index: number): string =>
  `${build.replaceAll("-", "").slice(8)}${index.toString(16).padStart(2, "0")}`;

/** In the order in which they are asked; the shipped folder has no others. */
async function shippedNames(): Promise<string[]> {
  const there = await readdir(SHIPPED_FOLDER);
  return ["nodejs", "python", "static"].filter((name) => there.includes(name));
}

/** Folder of a buildpack of this machine: a shipped one by name, or a path below an allowed folder. */
async function packFolder(given: string, allowed: readonly string[]): Promise<string> {
  if (!given.startsWith("/")) {
    if (!/^[a-z0-9-]+$/.test(given)) throw new Error(`There is no shipped buildpack ${given}.`);
    return path.join(SHIPPED_FOLDER, given);
  }
  const folder = await realpath(given).catch(() => "");
  for (const each of allowed) {
    const root = await realpath(each).catch(() => null);
    if (
      root &&
      folder &&
      (folder === root || folder.startsWith(`${root}/`)) &&
      (await stat(folder)).isDirectory()
    ) {
      return folder;
    }
  }
  throw new Error(`There is no buildpack folder ${given} below SLUICE_BUILDPACK_PATH.`);
}

/** A copy of the build's own. The shipped ones share files by links, which the copy does not have. */
async function copyPack(given: string, to: string, allowed: readonly string[]): Promise<void> {
  await cp(await packFolder(given, allowed), to, { recursive: true, dereference: !given.startsWith("/") });
}

/** What `apt-get download` in a buildpack needs besides its list of sources. */
const APT = ["/etc/apt/trusted.gpg.d", "/etc/apt/keyrings", "/var/lib/dpkg/status"];

/** The machine's package sources in one list, those with a password in them left out. */
async function packageSources(): Promise<string> {
  const text = await readFile("/etc/apt/sources.list", "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => /^deb/.test(line) && !/:\/\/[^/ ]*@/.test(line));
  if (lines.length > 0) return `${lines.join("\n")}\n`;
  const parts = await readFile("/etc/apt/sources.list.d/debian.sources", "utf8").catch(() => "");
  const entries = parts.split(/\n\s*\n/).map((stanza) => {
    const field = (name: string): string => new RegExp(`^${name}:\\s*(.+)$`, "m").exec(stanza)?.[1] ?? "";
    const [uris, suites, components, key] = ["URIs", "Suites", "Components", "Signed-By"].map(field) as [
      string,
      string,
      string,
      string,
    ];
    const option = key.startsWith("/") ? `[signed-by=${key}] ` : "";
    return uris
      .split(/\s+/)
      .filter((uri) => uri && !uri.includes("@"))
      .flatMap((uri) => suites.split(/\s+/).map((suite) => `deb ${option}${uri} ${suite} ${components}`));
  });
  return `${entries.flat().join("\n")}\n`;
}

/** Gives a tree that no one else has touched yet to `uid`; what lies at `except` is that user's already. */
async function giveTo(folder: string, uid: number, except: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (file === except) continue;
    if (entry.isSymbolicLink()) continue;
    await chown(file, uid, uid);
    if (entry.isDirectory()) await giveTo(file, uid, except);
  }
}

/** Settings of the operator whose value names files: certificates, npm's cafile, pip's folders of wheels. */
const NAMES_FILES = /(_CERTS?|CERT_FILE|cafile|FIND_LINKS|CONFIG_FILE|CONSTRAINT)$/i;
/** Below these a box sees the machine's files already. */
const SEEN = ["/usr/", "/etc/ssl/certs/", "/etc/ca-certificates/"];

function operatorFiles(env: Record<string, string>, home: string): BoxMount[] {
  const files = new Set<string>();
  for (const [name, value] of Object.entries(env)) {
    if (!NAMES_FILES.test(name)) continue;
    for (const word of value.split(/\s+/)) {
      const file = path.resolve("/", word.replace(/^file:\/\//, ""));
      if (!word.startsWith("/") && !word.startsWith("file:///")) continue;
      if (SEEN.some((seen) => file.startsWith(seen)) || file.split("/").length < 3) continue;
      if (file === home || file.startsWith(`${home}/`) || home.startsWith(`${file}/`)) continue;
      if (existsSync(file)) files.add(file);
    }
  }
  return [...files].map((file) => ({ source: file, target: file, writable: false }));
}
