import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { needsRoot, processesWith, startSluice, until } from "./sluice.ts";

/** Folders of a home that hold things of single apps. The compressed pieces of slugs are a bounded cache of all. */
const FOLDERS = [
  ...["git", "builds", "sources"].map((name) => `control/${name}`),
  ...["boxes", "slugs", "build-cache", "dynos", "trash"].map((name) => `host/${name}`),
  "slugs",
];

/** What lies in them; the boxes that the host keeps ready for the next start are nobody's. */
const everything = (home: string): string[] =>
  FOLDERS.filter((folder) => existsSync(path.join(home, folder))).flatMap((folder) =>
    readdirSync(path.join(home, folder))
      .map((name) => `${folder}/${name}`)
      .filter((name) => !name.startsWith("host/boxes/.blank")),
  );

/** Cgroups whose name holds one of `ids`, in every hierarchy; those of other runs come and go meanwhile. */
const cgroupsOf = (ids: string[]): string[] =>
  ["", ...namesIn("/sys/fs/cgroup")].flatMap((hierarchy) =>
    namesIn(`/sys/fs/cgroup/${hierarchy}`)
      .filter((name) => name.startsWith("sluice-"))
      .flatMap((name) => namesIn(`/sys/fs/cgroup/${hierarchy}/${name}`))
      .filter((name) => ids.some((id) => name.includes(id))),
  );

const namesIn = (folder: string): string[] => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

test("a destroyed app leaves nothing: no process, cgroup, mount, folder, route or row of its own", {
  skip: needsRoot,
}, async (t) => {
  const sluice = await startSluice(t);
  await until(async () => (await sluice.call("GET", "/apps")).status === 200, "the API");
  const before = new Set(everything(sluice.home));
  const mark = randomUUID();
  const repository = await sluice.deploy("gone", "", {
    "package.json": JSON.stringify({ name: "gone", version: "1.0.0" }),
    Procfile: `web: node index.js ${mark}\nworker: sleep 1000 # ${mark}\n`,
    "index.js": `
      require("node:fs").writeFileSync("/app/mine", "x");
      require("node:http").createServer((request, response) => response.end()).listen(process.env.PORT);`,
  });
  await sluice.must(["ps:scale", "-a", "gone", "web=2", "worker=1"]);
  await sluice.must(["run", "-a", "gone", "--detached", `sleep 1000 # ${mark}`]);
  await sluice.must(["domains:add", "-a", "gone", "gone.example.com"]);
  await sluice.must(["drains:add", "-a", "gone", "syslog://127.0.0.1:9"]);
  const up = async (): Promise<{ id: string; name: string }[]> => {
    const { body } = await sluice.call("GET", "/apps/gone/dynos");
    return (body as { id: string; name: string; state: string }[]).filter(({ state }) => state === "up");
  };
  await until(async () => (await up()).length === 4, "two web dynos, a worker and a one-off");

  await t.test("a dyno killed behind Sluice's back comes back", async () => {
    const [pid] = pidsOf(`node index.js ${mark}`);
    const had = pidsOf(`node index.js ${mark}`).length;
    process.kill(pid!, "SIGKILL");
    await until(
      () => !pidsOf(`node index.js ${mark}`).includes(pid!) && pidsOf(`node index.js ${mark}`).length === had,
      "another in its place",
    );
    await until(async () => (await up()).length === 4, "all to be up again");
    await until(
      async () => /State changed from crashed to starting/.test(await sluice.must(["logs", "-a", "gone"])),
      "its restart in the log",
    );
  });

  const ids = (await up()).map(({ id }) => id);
  const { body: app } = await sluice.call("GET", "/apps/gone");
  ids.push((app as { id: string }).id);
  assert.ok(cgroupsOf(ids).length > 0);

  await sluice.must(["destroy", "gone", "--confirm", "gone"], { cwd: repository });
  await until(() => processesWith(mark).length === 0, "its processes to end");
  assert.equal((await sluice.get("gone")).status, 404);
  assert.equal((await sluice.get("gone", "/", { headers: { Host: "gone.example.com" } })).status, 404);
  assert.equal((await sluice.call("GET", "/apps/gone")).status, 404);
  await until(() => cgroupsOf(ids).length === 0, "its cgroups to go");
  const left = (): string[] => everything(sluice.home).filter((name) => !before.has(name));
  await until(
    () => left().length === 0,
    "its files to go",
    20_000,
    () => left().join(" "),
  );
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  for (const id of ids) assert.ok(!mounts.includes(id));
});

/** Process ids of the programs with exactly this command line. */
function pidsOf(line: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(path.join("/proc", pid, "cmdline"), "utf8")
            .replaceAll("\0", " ")
            .trim() === line
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}
