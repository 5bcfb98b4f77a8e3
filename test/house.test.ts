import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const ROOT = path.resolve(import.meta.dirname, "../..");
const PARTS = ["edge", "logplex", "control", "host", "addons", "cli"];
const SHARED = ["wire", "config"];

const sourcesOf = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".ts"))
        .map((name) => path.join(folder, name))
    : [];

test("no part imports another, and wire and config import nothing above them", () => {
  const allowed = (room: string): string[] =>
    room === "wire" ? ["wire", "config"] : room === "config" ? ["config"] : [room, ...SHARED];
  for (const room of [...PARTS, ...SHARED]) {
    for (const file of sourcesOf(path.join(ROOT, "src", room))) {
      for (const [, target] of readFileSync(file, "utf8").matchAll(/from "(\.[^"]+)"/g)) {
        const reached = path.relative(path.join(ROOT, "src"), path.resolve(path.dirname(file), target!));
        const other = reached.split(path.sep)[0]!;
        assert.ok(allowed(room).includes(other), `${path.relative(ROOT, file)} imports ${reached}`);
      }
    }
  }
});

test("no file imports itself by way of others", () => {
  const sources = path.join(ROOT, "src");
  // The edge's exchange, dynos and stages still know each other.
  const files = sourcesOf(sources).filter((file) => !file.startsWith(path.join(sources, "edge")));
  const imports = new Map(
    files.map((file) => [
      file,
      [...readFileSync(file, "utf8").matchAll(/(?:from |import\()"(\.[^"]+)"/g)].map(([, target]) =>
        path.resolve(path.dirname(file), target!),
      ),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, way: string[]): void => {
    const names = [...way, file].map((each) => path.relative(sources, each));
    assert.ok(!way.includes(file), names.join(" imports "));
    if (done.has(file)) return;
    for (const next of imports.get(file) ?? []) visit(next, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test("every file that ARCHITECTURE.md names is there", () => {
  const text = readFileSync(path.join(ROOT, "ARCHITECTURE.md"), "utf8");
  const named = [...text.matchAll(/`((?:src|test|buildpacks|bin)\/[^`]*)`/g)].map(([, name]) => name!);
  assert.ok(named.length > 30);
  for (const name of named) assert.ok(existsSync(path.join(ROOT, name)), `${name} is not there`);
});
