import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { after, describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { SlugStore } from "../../src/control/builds/slug-store.ts";
import { type Piece, TarCutter, TarError } from "../../src/control/builds/tar-pieces.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sluice-slugs-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Bytes that look random but are the same in every run. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let at = 0; at < size; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** A tree like a slug's: a large file, many small ones, and the app, whose content is `version`. */
function tree(version: string): Buffer {
  const app = path.join(folder, "app");
  rmSync(app, { recursive: true, force: true });
  mkdirSync(path.join(app, ".heroku/modules"), { recursive: true });
  writeFileSync(path.join(app, ".heroku/large"), noise(9 * 1024 * 1024 + 700, 1));
  for (let number = 0; number < 400; number += 1) {
    const file = path.join(app, ".heroku/modules", `file-${number}.js`);
    writeFileSync(file, noise(6000 + number, number + 2));
    utimesSync(file, 1000, 1000);
  }
  writeFileSync(path.join(app, "index.js"), version);
  return execFileSync(
    "tar",
    ["-C", folder, "-c", "--sort=name", "--owner=0", "--group=0", "--mtime=@2000", "--clamp-mtime", "./app"],
    { maxBuffer: 64 * 1024 * 1024 },
  );
}

const BOUNDS = { bytes: 64 * 1024 * 1024, entries: 1000 };

function cutIn(tar: Buffer, step: number): Piece[] {
  const cutter = new TarCutter(BOUNDS);
  const pieces: Piece[] = [];
  for (let at = 0; at < tar.length; at += step) pieces.push(...cutter.push(tar.subarray(at, at + step)));
  pieces.push(...cutter.end());
  return pieces;
}

const chunks = function* (tar: Buffer, step: number): Generator<Buffer> {
  for (let at = 0; at < tar.length; at += step) yield tar.subarray(at, at + step);
};

describe("a slug's tar in pieces", () => {
  it("is cut at the same places whatever chunks it comes in, and nothing is lost", () => {
    const tar = tree("one");
    const pieces = cutIn(tar, 65536);
    assert.deepEqual(
      pieces.map(({ digest }) => digest),
      cutIn(tar, 10_007).map(({ digest }) => digest),
    );
    assert.ok(Buffer.concat(pieces.flatMap(({ parts }) => parts)).equals(tar));
    for (const { parts, size, digest } of pieces) {
      const bytes = Buffer.concat(parts);
      assert.equal(bytes.length, size);
      assert.equal(createHash("sha256").update(bytes).digest("hex"), digest);
    }
    assert.deepEqual(
      pieces.filter(({ large }) => large).map(({ size }) => size),
      [...Array(4).fill(2 * 1024 * 1024), 1024 * 1024 + 1024],
    );
  });

  it("has the same pieces again after what changed", () => {
    const before = new Set(cutIn(tree("one"), 65536).map(({ digest }) => digest));
    const after = cutIn(tree("two, which is longer".repeat(100)), 65536);
    assert.ok(before.size > 6, `${before.size} pieces`);
    assert.equal(after.filter(({ digest }) => !before.has(digest)).length, 1);
  });

  it("refuses one that is cut short, too large or goes on after its end", () => {
    const tar = tree("one");
    assert.throws(() => cutIn(tar.subarray(0, 5_000_000), 65536), { id: "slug_cut_short" });
    assert.throws(() => new TarCutter({ bytes: 1000, entries: 10 }).push(tar), { id: "slug_too_large" });
    assert.throws(() => new TarCutter({ bytes: 1e9, entries: 10 }).push(tar), { id: "slug_too_many_files" });
    assert.throws(() => cutIn(Buffer.concat([tar, tar]), 65536), { id: "slug_invalid" });
  });
});

describe("the slug store", () => {
  it("keeps a tar as one .tar.gz under its SHA-256, and compresses again only what changed", async () => {
    const members = path.join(folder, "members");
    const store = new SlugStore(path.join(folder, "slugs"), members);
    await store.open();
    const one = tree("one");
    const first = await store.pack(Readable.from(chunks(one, 65536)));
    const made = readdirSync(members).length;
    assert.ok(made > 5);
    const bytes = readFileSync(store.fileOf(first.sha256));
    assert.equal(bytes.length, first.size);
    assert.equal(createHash("sha256").update(bytes).digest("hex"), first.sha256);
    assert.ok(gunzipSync(bytes).equals(one));

    const again = await store.pack(Readable.from(chunks(one, 9999)));
    assert.deepEqual(again, first);
    const two = tree("two");
    const second = await store.pack(Readable.from(chunks(two, 65536)));
    assert.notEqual(second.sha256, first.sha256);
    assert.ok(gunzipSync(readFileSync(store.fileOf(second.sha256))).equals(two));
    assert.ok(readdirSync(members).length <= made + 1);
  });

  it("gives a slug up whose tar breaks off or is none, and leaves nothing of it", async () => {
    const slugs = path.join(folder, "broken");
    const store = new SlugStore(slugs, path.join(folder, "broken-members"));
    await store.open();
    const tar = tree("one");
    await assert.rejects(store.pack(Readable.from(chunks(tar.subarray(0, 3_000_000), 65536))), TarError);
    const breaking = async function* () {
      yield tar.subarray(0, 200_000);
      throw new Error("the host went away");
    };
    await assert.rejects(store.pack(Readable.from(breaking())), /the host went away/);
    assert.deepEqual(readdirSync(slugs), []);
  });
});
