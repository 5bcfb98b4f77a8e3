import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it, type TestContext } from "node:test";
import { type House, KEY, openHouse } from "../control/api/house.ts";
import { type Result, sluice, temporaryFolder } from "./sluice.ts";

/** The command against control's real API over a real store. */
describe("the command and control", () => {
  let house: House;
  before(async () => {
    house = await openHouse();
  });
  after(() => house.close());

  const run = (args: string[], cwd?: string): Promise<Result> =>
    sluice(args, { env: { SLUICE_API_URL: house.url, SLUICE_API_KEY: KEY }, cwd });

  const good = async (args: string[], cwd?: string): Promise<string> => {
    const result = await run(args, cwd);
    assert.equal(result.status, 0, `${args.join(" ")}: ${result.err}`);
    return result.out;
  };

  const repository = (t: TestContext) => {
    const cwd = temporaryFolder(t);
    const git = (...args: string[]) => execFileSync("git", args, { cwd, encoding: "utf8" }).trim();
    git("init", "-q");
    return { cwd, git };
  };

  it("create adds a remote without the key, and a helper that git asks for it", async (t) => {
    const { cwd, git } = repository(t);
    assert.match(
      await good(["create", "made"], cwd),
      /^Created made\.\nurl: http:\/\/made\.localhost:\d+\/\n/,
    );
    assert.equal(git("remote", "get-url", "sluice"), `${house.url}/made.git`);
    const filled = execFileSync("git", ["credential", "fill"], {
      cwd,
      encoding: "utf8",
      input: `url=${house.url}/made.git\n\n`,
      env: {
        PATH: process.env.PATH,
        HOME: "/nonexistent",
        GIT_TERMINAL_PROMPT: "0",
        SLUICE_API_URL: house.url,
        SLUICE_API_KEY: KEY,
      },
    });
    assert.match(filled, new RegExp(`^username=sluice\npassword=${KEY}$`, "m"));
    assert.ok(!git("config", "--local", "--list").includes(KEY));

    const second = await run(["create", "second"], cwd);
    assert.equal(second.status, 0);
    assert.match(
      second.err,
      /^The git remote sluice is there already .* sluice git:remote -a second -r NAME\n$/,
    );
    assert.equal(git("remote", "get-url", "sluice"), `${house.url}/made.git`);
    await good(["git:remote", "-a", "second", "-r", "other"], cwd);
    assert.equal(git("remote", "get-url", "other"), `${house.url}/second.git`);
  });

  it("apps are listed, shown, renamed with their remote, and destroyed only when named", async (t) => {
    const { cwd, git } = repository(t);
    await good(["create", "before"], cwd);
    const listed = JSON.parse(await good(["apps", "--json"])) as { name: string }[];
    assert.ok(listed.some((app) => app.name === "before"));
    assert.match(await good(["apps"]), /^NAME +URL +STACK\n/);
    assert.equal(JSON.parse(await good(["info", "--json"], cwd)).name, "before");
    assert.match(await good(["rename", "behind"], cwd), /^Renamed before to behind\.\n/);
    assert.equal(git("remote", "get-url", "sluice"), `${house.url}/behind.git`);
    const wrong = await run(["destroy", "--confirm", "before"], cwd);
    assert.deepEqual(wrong, {
      status: 2,
      out: "",
      err: 'sluice: "before" is not behind; nothing is destroyed.\n',
    });
    const silent = await run(["destroy"], cwd);
    assert.equal(silent.status, 2);
    assert.match(silent.err, /--confirm behind/);
    assert.equal(await good(["destroy", "--confirm", "behind"], cwd), "Destroyed behind.\n");
    assert.equal(git("remote"), "");
    const gone = await run(["info", "-a", "behind"]);
    assert.equal(gone.status, 1);
    assert.match(gone.err, /^sluice: .+\.\n$/);
  });

  it("what control refuses is told in its own sentence", async () => {
    const refused = await run(["create", "Not-A-Name"]);
    assert.equal(refused.status, 1);
    assert.match(refused.err, /^sluice: .*must start with a letter.*\n$/);
  });

  it("domains, drains, features, maintenance and buildpacks change and are listed", async () => {
    await good(["create", "things"]);
    const at = (...words: string[]): string[] => [...words, "-a", "things"];
    assert.match(
      await good(at("domains", "add", "www.example.com")),
      /^www\.example\.com leads to things\.\n/,
    );
    assert.match(
      await good(at("domains")),
      /^HOSTNAME .*\nthings\.localhost +heroku\nwww\.example\.com +custom /,
    );
    await good(at("domains:remove", "www.example.com"));
    assert.equal(JSON.parse(await good(at("domains", "--json"))).length, 1);

    assert.equal((await run(at("drains"))).err, "things has no drains.\n");
    const added = await good(at("drains:add", "https://user:secret@logs.example.com/in"));
    assert.match(
      added,
      /^The log of things goes to https:\/\/logs\.example\.com\/in as d\.[0-9a-f-]{36}\.\n$/,
    );
    assert.ok(!(await good(at("drains"))).includes("secret"));
    await good(at("drains:remove", / as (\S+)\.\n/.exec(added)![1]!));
    assert.deepEqual(JSON.parse(await good(at("drains", "--json"))), []);

    assert.equal(await good(at("features:enable", "sleep")), "sleep is on for things.\n");
    assert.match(await good(at("features")), /^sleep +on /m);

    assert.equal(await good(at("maintenance")), "off\n");
    await good(at("maintenance", "on"));
    assert.equal(await good(at("maintenance")), "on\n");

    assert.equal(await good(at("buildpacks:set", "heroku/nodejs")), "1. heroku/nodejs\n");
    assert.equal(
      await good(at("buildpacks:add", "-i", "1", "heroku/python")),
      "1. heroku/python\n2. heroku/nodejs\n",
    );
    assert.equal(await good(at("buildpacks:remove", "heroku/python")), "1. heroku/nodejs\n");
    assert.match((await run(at("buildpacks:clear"))).err, /^things has no buildpacks set/);
  });

  it("status has a row for each part, and fails when one is down", async () => {
    const result = await run(["status"]);
    assert.match(result.out, /^PART +STATE\nedge +up\n/);
    assert.equal(result.status, 1);
    assert.match(result.err, /^sluice: Down at .*: logplex\.\n$/);
  });
});
