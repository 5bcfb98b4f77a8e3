import assert from "node:assert/strict";
import { test } from "node:test";
import { buildProgram, joinWords } from "../../src/cli/cli.ts";
import { parseCount } from "../../src/cli/command.ts";
import { parsePair } from "../../src/cli/commands/config.ts";
import { parseScale, parseSize } from "../../src/cli/commands/ps.ts";
import { parseVersion } from "../../src/cli/commands/releases.ts";
import { commandLine } from "../../src/cli/commands/run.ts";
import { UsageFailure } from "../../src/cli/failure.ts";
import { ago, bytes, Output } from "../../src/cli/output.ts";
import { appOfUrl, redacted } from "../../src/cli/remotes.ts";
import { Session } from "../../src/cli/session.ts";
import { sluice } from "./sluice.ts";

const program = buildProgram(new Session({}, "/", new Output(process.stdout, process.stderr, {})));

test("two words that name a command are one, others stay", () => {
  const cases: [string, string][] = [
    ["config set A=1", "config:set A=1"],
    ["help config set", "help config:set"],
    ["ps scale web=2", "ps:scale web=2"],
    ["apps create hello", "apps:create hello"],
    ["config -a hello", "config -a hello"],
    ["config:set A=1", "config:set A=1"],
    ["run ps scale", "run ps scale"],
    ["apps", "apps"],
  ];
  for (const [given, wanted] of cases) {
    assert.deepEqual(joinWords(program, given.split(" ")), wanted.split(" "), given);
  }
});

test("every command has a summary, examples, and a name of its own", () => {
  const names = program.commands.flatMap((command) => [command.name(), ...command.aliases()]);
  assert.deepEqual(names, [...new Set(names)]);
  for (const command of program.commands) assert.ok(command.description(), command.name());
});

test("config vars are taken apart at the first equals sign", () => {
  assert.deepEqual(parsePair("A=1"), ["A", "1"]);
  assert.deepEqual(parsePair("URL=postgres://u:p@h/d?a=b"), ["URL", "postgres://u:p@h/d?a=b"]);
  assert.deepEqual(parsePair("EMPTY="), ["EMPTY", ""]);
  assert.deepEqual(parsePair("LINES=a\nb"), ["LINES", "a\nb"]);
  for (const bad of ["A", "=1", ""]) assert.throws(() => parsePair(bad), UsageFailure);
});

test("scales are absolute or relative, with a size or without", () => {
  assert.deepEqual(parseScale("web=2"), { type: "web", quantity: "2" });
  assert.deepEqual(parseScale("web+1"), { type: "web", quantity: "+1" });
  assert.deepEqual(parseScale("my-worker-2"), { type: "my-worker", quantity: "-2" });
  assert.deepEqual(parseScale("my-worker=0:standard-2x"), {
    type: "my-worker",
    quantity: "0",
    size: "standard-2x",
  });
  for (const bad of ["web", "web=x", "web=-1", "=2", "web=2:", "web 2"]) {
    assert.throws(() => parseScale(bad), UsageFailure, bad);
  }
  assert.deepEqual(parseSize("web=eco"), { type: "web", size: "eco" });
  for (const bad of ["web", "web=", "=eco", "a=b=c"]) assert.throws(() => parseSize(bad), UsageFailure, bad);
});

test("releases and counts", () => {
  assert.equal(parseVersion("v12"), 12);
  assert.equal(parseVersion("3"), 3);
  for (const bad of ["v0", "latest", "v", "-1", "3x"])
    assert.throws(() => parseVersion(bad), UsageFailure, bad);
  assert.equal(parseCount("15"), 15);
  for (const bad of ["0", "-1", "x", "1.5", ""]) assert.throws(() => parseCount(bad), UsageFailure, bad);
});

test("one word is a command line, several are words", () => {
  assert.equal(commandLine(["rake db:migrate && echo done"]), "rake db:migrate && echo done");
  assert.equal(commandLine(["echo", "a b", "it's", "$HOME"]), "echo 'a b' 'it'\\''s' '$HOME'");
});

test("apps are told by git URLs", () => {
  for (const url of [
    "http://127.0.0.1:5000/hello.git",
    "http://x:KEY@127.0.0.1:5000/hello.git",
    "https://git.example.com/hello",
    "git@example.com:hello.git",
    "ssh://git@example.com/hello.git",
  ]) {
    assert.equal(appOfUrl(url), "hello", url);
  }
  for (const url of ["http://127.0.0.1:5000/", "https://example.com/Team/App.git", "/srv/x"]) {
    assert.equal(appOfUrl(url), null, url);
  }
  assert.equal(redacted("http://x:KEY@127.0.0.1:5000/hello.git"), "http://127.0.0.1:5000/hello.git");
});

test("times and sizes for people", () => {
  const now = Date.parse("2026-01-02T00:00:00Z");
  assert.equal(ago("2026-01-01T23:59:55Z", now), "5s");
  assert.equal(ago("2026-01-01T23:00:00Z", now), "1h");
  assert.equal(ago("2025-12-30T00:00:00Z", now), "3d");
  assert.equal(bytes(667), "667B");
  assert.equal(bytes(21_705_523), "20.7M");
});

test("a wrong command line is told in one sentence that says where to look", async () => {
  for (const [args, said] of [
    [["nonsense"], "unknown command 'nonsense'; see `sluice --help`."],
    [["conifg"], "unknown command 'conifg' (Did you mean config?); see `sluice --help`."],
    [["run"], "missing required argument 'command'; see `sluice --help`."],
  ] as const) {
    assert.deepEqual(await sluice([...args]), { status: 2, out: "", err: `sluice: ${said}\n` });
  }
});
