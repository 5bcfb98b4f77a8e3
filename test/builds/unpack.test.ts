import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";

const SCRIPT = path.resolve(import.meta.dirname, "../../../src/host/build/unpack.pl");

interface Entry {
  name: string;
  type?: string;
  link?: string;
  mode?: number;
  data?: string | Buffer;
}

/** A tar made by hand: real tools would not make most of these. */
export function tarOf(entries: Entry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const { name, type = "0", link = "", mode = 0o644, data = "" } of entries) {
    const body = Buffer.from(data);
    const head = Buffer.alloc(512);
    head.write(name, 0);
    head.write(mode.toString(8).padStart(7, "0"), 100);
    head.write("0000000", 108);
    head.write("0000000", 116);
    head.write(body.length.toString(8).padStart(11, "0"), 124);
    head.write("14600000000", 136);
    head.write("        ", 148);
    head.write(type, 156);
    head.write(link, 157);
    head.write("ustar\x0000", 257, "latin1");
    const sum = head.reduce((total, byte) => total + byte, 0);
    head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    blocks.push(head, body, Buffer.alloc((512 - (body.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

describe("unpacking an archive that somebody else made", () => {
  let folder: string;
  let count = 0;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "sluice-unpack-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const unpack = (
    archive: Buffer,
    bytes = 1 << 30,
    entries = 200_000,
    strip = "",
  ): { said: string; ok: boolean; into: string } => {
    const file = path.join(folder, `archive-${++count}`);
    const into = path.join(folder, `tree-${count}`);
    writeFileSync(file, archive);
    mkdirSync(into);
    const run = spawnSync("perl", [SCRIPT, file, into, String(bytes), String(entries), strip], {
      encoding: "utf8",
    });
    return { said: run.stderr.trim(), ok: run.status === 0, into };
  };

  it("unpacks plain and gzipped ones, whole, with links that stay within", () => {
    const entries: Entry[] = [
      { name: "./a/b.txt", data: "text" },
      { name: "run.sh", data: "#!", mode: 0o755 },
      { name: "a/up", type: "2", link: "../run.sh" },
      { name: "hard", type: "1", link: "run.sh" },
    ];
    for (const archive of [tarOf(entries), gzipSync(tarOf(entries))]) {
      const { ok, said, into } = unpack(archive);
      assert.ok(ok, said);
      assert.equal(readFileSync(path.join(into, "a/b.txt"), "utf8"), "text");
      assert.equal(readFileSync(path.join(into, "a/up"), "utf8"), "#!");
    }
    const github = unpack(
      tarOf([
        { name: "app-main/", type: "5", mode: 0o755 },
        { name: "app-main/x", data: "x" },
      ]),
      1 << 30,
      10,
      "strip",
    );
    assert.ok(existsSync(path.join(github.into, "x")), github.said);
  });

  const refused: [string, Entry[], RegExp][] = [
    ["an absolute name", [{ name: "/etc/evil" }], /absolute name \/etc\/evil/],
    ["a name that climbs out", [{ name: "a/../../evil" }], /leads out/],
    ["a link that leads out", [{ name: "a", type: "2", link: "../../etc/passwd" }], /link a leads out/],
    ["an absolute link", [{ name: "a", type: "2", link: "/etc/passwd" }], /link a leads out/],
    ["a hard link that leads out", [{ name: "a", type: "1", link: "../x" }], /link a leads out/],
    ["a character device", [{ name: "dev", type: "3" }], /device/],
    ["a FIFO", [{ name: "fifo", type: "6" }], /FIFO/],
    ["a set-user-id bit", [{ name: "su", mode: 0o4755, data: "x" }], /set-user-id/],
    [
      "a pax name that climbs out",
      [{ name: "x", type: "x", data: "15 path=../evil\n" }, { name: "fine" }],
      /leads out/,
    ],
    [
      "a GNU long name that climbs out",
      [{ name: "././@LongLink", type: "L", data: "../evil\0" }, { name: "fine" }],
      /leads out/,
    ],
  ];
  for (const [what, entries, words] of refused) {
    it(`refuses ${what}`, () => {
      const { ok, said } = unpack(tarOf([...entries, { name: "after", data: "x" }]));
      assert.ok(!ok);
      assert.match(said, words);
      assert.equal(said.split("\n").length, 1);
      assert.ok(!existsSync(path.join(folder, "evil")));
    });
  }

  it("holds its bounds: bytes, files, and growth", () => {
    assert.match(unpack(tarOf([{ name: "big", data: Buffer.alloc(300_000) }]), 100_000).said, /MiB unpacked/);
    const many = Array.from({ length: 30 }, (_, index) => ({ name: `f${index}` }));
    assert.match(unpack(tarOf(many), 1 << 30, 20).said, /more than 20 files/);
    const bomb = gzipSync(tarOf([{ name: "zeros", data: Buffer.alloc(20_000_000) }]));
    const { ok, said, into } = unpack(bomb);
    assert.ok(!ok);
    assert.match(said, /grows too much/);
    assert.ok(
      !existsSync(path.join(into, "zeros")) || readFileSync(path.join(into, "zeros")).length < 2_000_000,
    );
  });

  it("says what is wrong with what is no archive, or half of one", () => {
    assert.match(unpack(Buffer.from("<html>not found</html>")).said, /not a \.tar\.gz/);
    assert.match(unpack(Buffer.alloc(0)).said, /empty/);
    const whole = tarOf([{ name: "a", data: Buffer.alloc(5000, 1) }]);
    assert.match(unpack(whole.subarray(0, 2000)).said, /cut short/);
    assert.match(unpack(gzipSync(whole).subarray(0, 60)).said, /cut short|not a \.tar\.gz/);
  });
});
