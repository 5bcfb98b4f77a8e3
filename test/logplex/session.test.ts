import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Source } from "../../src/wire/source.ts";
import { get, House, Tail } from "./house.ts";

const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 (\w+)\[([\w.-]+)\]: (.*)$/;
let house: House;

beforeEach(async () => {
  house = new House();
  await house.start();
  await house.app("hello");
});
afterEach(() => house.close());

const texts = (body: string): string[] =>
  body
    .split("\n")
    .filter(Boolean)
    .map((line) => LINE.exec(line)?.[3] ?? `not a line: ${line}`);

test("history is shown in Heroku's line shape and the answer ends without tail", async () => {
  await house.lines("hello", ["one", "two", ""]);
  const answer = await get(await house.session("hello"));
  assert.equal(answer.status, 200);
  assert.match(answer.headers["content-type"]!, /^text\/plain/);
  assert.equal(answer.headers.connection, "close");
  assert.deepEqual(
    answer.body.split("\n").map((line) => LINE.exec(line)?.slice(1, 4)),
    [["app", "web.1", "one"], ["app", "web.1", "two"], ["app", "web.1", ""], undefined],
  );
});

test("the last lines are taken first and filtered after", async () => {
  const sender = house.sender("host");
  const app = sender.app("hello");
  const at = Date.now() * 1000;
  const names = ["web.1", "web.2", "worker.1"].map((name) => sender.process(name));
  for (let i = 0; i < 9; i += 1) sender.write(app, names[i % 3]!, Source.Dyno, at + i, Buffer.from(`${i}`));
  sender.write(app, names[0]!, Source.Platform, at + 10, Buffer.from("State changed from starting to up"));
  await sender.close(5000);
  const shown = async (more: object): Promise<string[]> =>
    texts((await get(await house.session("hello", more))).body);
  assert.deepEqual(await shown({ lines: 4, dyno: "web.1" }), ["6", "State changed from starting to up"]);
  assert.deepEqual(await shown({ dyno: "web", source: "app" }), ["0", "1", "3", "4", "6", "7"]);
  assert.deepEqual(await shown({ dyno: "we" }), []);
  assert.deepEqual(await shown({ source: "heroku" }), ["State changed from starting to up"]);
});

test("a tail goes on after its history with neither gap nor double while lines pour in", async () => {
  const sender = house.sender("host");
  const app = sender.app("hello");
  const web = sender.process("web.1");
  let written = 0;
  const write = (count: number): void => {
    for (let i = 0; i < count; i += 1, written += 1) {
      sender.write(app, web, Source.Dyno, Date.now() * 1000, Buffer.from(`n${written}`));
    }
    sender.flush();
  };
  write(300);
  const pouring = setInterval(() => write(50), 1);
  const tails = await Promise.all(
    Array.from({ length: 5 }, async () =>
      Tail.open(await house.session("hello", { tail: true, lines: 1500 })),
    ),
  );
  await tails[0]!.until((text) => text.includes("n2000\n"));
  clearInterval(pouring);
  await sender.close(5000);
  for (const tail of tails) {
    await tail.until((text) => text.includes(`n${written - 1}\n`));
    const numbers = texts(tail.text).map((text) => Number(text.slice(1)));
    for (let i = 1; i < numbers.length; i += 1) assert.equal(numbers[i], numbers[i - 1]! + 1);
    tail.close();
  }
});

test("an event stream carries ids, and a client that comes back goes on behind the last it saw", async () => {
  await house.lines("hello", ["a", "b", "c"]);
  const url = await house.session("hello");
  const first = await get(url, { accept: "text/event-stream" });
  assert.match(first.headers["content-type"]!, /^text\/event-stream/);
  const events = first.body.split("\n\n").filter(Boolean);
  assert.equal(events.length, 3);
  for (const event of events) assert.match(event, /^id: \d+\ndata: \d{4}.*$/);
  const id = /^id: (\d+)/.exec(events[1]!)![1]!;
  const again = await get(url, { accept: "text/event-stream", "last-event-id": id });
  assert.equal(again.body.split("\n\n").filter(Boolean).length, 1);
  assert.match(again.body, /: c\n/);
  // A restart keeps the numbers rising, and the client's place.
  await house.stop();
  await house.start();
  await house.lines("hello", ["d"]);
  const later = await get(url.replace(/:\d+\//, `:${house.httpPort}/`), {
    accept: "text/event-stream",
    "last-event-id": id,
  });
  assert.deepEqual(later.body.match(/: [a-d]\n/g), [": c\n", ": d\n"]);
});

test("a session that is not there or has expired is a 404 with a sentence", async () => {
  const url = await house.session("hello", { expires: Date.now() - 1 });
  const answer = await get(url);
  assert.equal(answer.status, 404);
  assert.match(answer.body, /expired; ask for a new one/);
  assert.equal((await get(url.replace(/t-.*/, "nothing"))).status, 404);
});

test("a client that does not read is told with L11 what it lost, exactly, and slows nobody", async () => {
  await house.app("other");
  const slow = await Tail.open(await house.session("hello", { tail: true, lines: 0 }));
  slow.response.pause();
  const written = 40_000;
  const batch = Array.from({ length: 2000 }, () => "x".repeat(400));
  for (let i = 0; i < written; i += batch.length) await house.lines("hello", batch);
  const other = await Tail.open(await house.session("other", { tail: true }));
  await house.lines("other", ["quick"]);
  await other.until((seen) => seen.includes("quick"));
  slow.response.resume();
  await house.lines("hello", ["the end"]);
  await slow.until((seen) => seen.includes("the end"));
  const lost = [
    ...slow.text.matchAll(
      /Error L11 \(Tail buffer overflow\) -> This tail session dropped (\d+) messages since \S+\.$/gm,
    ),
  ];
  assert.ok(lost.length > 0);
  const dropped = lost.reduce((sum, match) => sum + Number(match[1]), 0);
  const shown = slow.text.split("\n").filter((line) => line.includes("app[web.1]")).length;
  assert.equal(shown + dropped, written + 1);
  assert.match(
    lost[0]!.input.split("\n").find((line) => line.includes("L11"))!,
    /heroku\[logplex\]: Error L11/,
  );
  slow.close();
  other.close();
});

test("a line break inside a line cannot feign another line", async () => {
  await house.lines("hello", ["x\n2026-01-01T00:00:00.000000+00:00 heroku[router]: at=info"]);
  const answer = await get(await house.session("hello", { source: "app" }));
  assert.equal(answer.body.trimEnd().split("\n").length, 1);
});

test("an app that is destroyed and made again under its id is heard on the same link, and nothing is told lost", async () => {
  const sender = house.sender("host");
  const app = sender.app("hello");
  const web = sender.process("web.1");
  const write = async (text: string): Promise<void> => {
    const tail = await Tail.open(await house.session("hello", { tail: true }));
    sender.write(app, web, Source.Dyno, Date.now() * 1000, Buffer.from(text));
    sender.flush();
    await tail.until((seen) => seen.includes(text));
    tail.close();
  };
  await write("first");
  house.feed.update([], ["app:hello"]);
  await house.applied();
  await house.app("hello");
  await write("second");
  await sender.close(1000);
  const answer = await get(await house.session("hello"));
  assert.deepEqual(texts(answer.body), ["second"]);
});

test("each part writes its own sources only", async () => {
  const edge = house.sender("edge");
  const app = edge.app("hello");
  const router = edge.process("router");
  edge.write(app, router, Source.Router, Date.now() * 1000, Buffer.from("at=info"));
  edge.write(app, router, Source.Platform, Date.now() * 1000, Buffer.from("forged"));
  edge.write(app, router, Source.Router, Date.now() * 1000, Buffer.from("at=error"));
  await edge.close(5000);
  const answer = await get(await house.session("hello"));
  assert.deepEqual(texts(answer.body), ["at=info", "at=error"]);
});
