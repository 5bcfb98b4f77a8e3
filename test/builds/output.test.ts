import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Yard } from "./yard.ts";

const full = process.env.SLUICE_TEST_FULL === "1";
const skip = process.getuid?.() !== 0 && !full ? "boxes with folders of their own need root" : false;

/** Words of the stack differ by the machine; all other bytes are the contract's (section 5). */
const BUILDING = "-----> Building on the Heroku-NN stack\n";

describe("the output of a build, byte for byte", { skip }, () => {
  let yard: Yard;
  let packs: string;

  before(async () => {
    packs = mkdtempSync(path.join(os.tmpdir(), "sluice-packs-"));
    yard = await Yard.open({
      SLUICE_BUILDPACK_PATH: packs,
      SLUICE_SLUG_LIMIT: "1",
      SLUICE_BUILD_TIMEOUT: "2",
    });
  });
  after(async () => {
    await yard?.close();
    rmSync(packs, { recursive: true, force: true });
  });

  /** A buildpack that detects by nothing, with these scripts. */
  const pack = (name: string, scripts: Record<string, string>): string => {
    const folder = path.join(packs, name);
    mkdirSync(path.join(folder, "bin"), { recursive: true });
    const all: Record<string, string> = { detect: `echo ${name}`, compile: ":", ...scripts };
    for (const [script, text] of Object.entries(all))
      writeFileSync(path.join(folder, "bin", script), `#!/bin/bash\n${text}\n`);
    return folder;
  };
  interface Build {
    id: string;
    status: string;
    output_stream_url: string;
    slug: { id: string } | null;
  }
  /** Pushes, and gives the newest build and what it printed, with the size and stack made plain. */
  const build = async (app: string, files: Record<string, string>): Promise<Build & { text: string }> => {
    const known = (await yard.api<Build[]>("GET", `/apps/${app}/builds`)).body.map(({ id }) => id);
    await yard.push(yard.repository(files), app, "+main:main");
    const { body } = await yard.api<Build[]>("GET", `/apps/${app}/builds`);
    const newest = body.find(({ id }) => !known.includes(id))!;
    const text = await (await fetch(newest.output_stream_url)).text();
    return {
      ...newest,
      text: text
        .replace(/Heroku-2[24]/, "Heroku-NN")
        .replace(/Done: [\d.]+[BKMG]/, "Done: 9K")
        .replaceAll("\0", ""),
    };
  };
  const typesOf = async (app: string, { slug }: Build): Promise<Record<string, string>> =>
    (await yard.api<{ process_types: Record<string, string> }>("GET", `/apps/${app}/slugs/${slug!.id}`)).body
      .process_types;

  it("of several buildpacks in order: exports passed on, types of the last, no release needed", async () => {
    await yard.app("several");
    const first = pack("First", {
      compile: `echo "-----> First works"; mkdir -p "$1/.profile.d"; echo 'export A=1' >"$1/.profile.d/a.sh"
echo 'export A_DIR=/a; export PATH=/a/bin:$PATH' >export`,
      release: "printf -- '---\\ndefault_process_types:\\n  ghost: boo\\n'",
    });
    const second = pack("Second", {
      compile: `echo "       a: $A_DIR \${PATH%%:*}"; cat "$1/.profile.d/a.sh" | sed 's/^/       /'
rm -rf "$1"; mkdir "$1"; echo 'work: ./w' >"$1/Procfile"`,
    });
    const third = pack("Third", {
      compile: `echo "       still: $A_DIR; $(ls -A "$1")" >&2`,
      release: "printf -- '---\\ndefault_process_types:\\n  web: ./third\\n  work: no\\n'",
    });
    await yard.buildpacks("several", first, second, third);
    const several = await build("several", { Procfile: "web: ./gone" });
    assert.equal(
      several.text,
      `${BUILDING}-----> Using buildpacks:
       1. ${first}
       2. ${second}
       3. ${third}
-----> First app detected
-----> First works
-----> Second app detected
       a: /a /a/bin
       export A=1
-----> Third app detected
       still: /a; Procfile
-----> Discovering process types
       Procfile declares types     -> work
       Default types for buildpack -> web

-----> Compressing...
       Done: 9K
-----> Launching...
       Released v3
       http://several.localhost:8080/ deployed to Sluice
`,
    );
    assert.deepEqual(await typesOf("several", several), { web: "./third", work: "./w" });
  });

  it("of a release that says nothing, in each way that there is", async () => {
    await yard.app("silent");
    for (const [index, said] of ["---", "--- {}", ""].entries()) {
      await yard.buildpacks("silent", pack(`Silent${index}`, { release: `echo '${said}'` }));
      const silent = await build("silent", { Procfile: `web: ./a\nworker: ./b ${index}` });
      assert.equal(silent.status, "succeeded", silent.text);
      assert.match(
        silent.text,
        /-----> Discovering process types\n {7}Procfile declares types -> web, worker\n\n/,
      );
    }
  });

  it("takes config vars of a buildpack at the first deploy, beside the app's own, and never again", async () => {
    await yard.app("given", { OWN: "mine" });
    const release = (value: string): string =>
      `printf -- '---\\nconfig_vars:\\n  OWN: theirs\\n  GIVEN: ${value}\\ndefault_process_types:\\n  web: ./a\\n'`;
    await yard.buildpacks("given", pack("Gives", { release: release("once") }));
    await build("given", { a: "1" });
    const config = async (): Promise<unknown> => (await yard.api("GET", "/apps/given/config-vars")).body;
    assert.deepEqual(await config(), { OWN: "mine", GIVEN: "once" });
    await yard.api("PATCH", "/apps/given/config-vars", { GIVEN: null });
    pack("Gives", { release: release("twice") });
    assert.equal((await build("given", { a: "2" })).status, "succeeded");
    assert.deepEqual(await config(), { OWN: "mine" });
  });

  it("of a buildpack that does not fit, with all that its detect printed", async () => {
    await yard.app("unfit");
    const unfit = pack("Unfit", { detect: "echo to out; echo to err >&2; exit 1" });
    await yard.buildpacks("unfit", unfit);
    assert.equal(
      (await build("unfit", { a: "" })).text,
      `${BUILDING}-----> Using buildpack: ${unfit}
-----> App not compatible with buildpack: ${unfit}
       to out
       to err

       More info: the app lacks the files by which this buildpack knows its apps; set another buildpack.

 !     Push failed
`,
    );
  });

  it("of an app that nothing fits, and of one that several fit", async () => {
    await yard.app("none");
    assert.equal(
      (await build("none", { a: "" })).text,
      `${BUILDING}-----> Determining which buildpack to use for this app
 !     No default language could be detected for this app.
\t\t\tHINT: This occurs when Sluice cannot detect the buildpack to use for this application automatically.
\t\t\tAdd package.json, requirements.txt or index.html, or set one: sluice buildpacks:set <name or git URL>

 !     Push failed
`,
    );
    const both = await build("none", { "package.json": "{", "app.py": "" });
    assert.ok(
      both.text.startsWith(`${BUILDING}-----> Determining which buildpack to use for this app
 !     Warning: Multiple default buildpacks reported the ability to handle this app. The first buildpack in the list below will be used.
\t\t\tDetected buildpacks: Node.js,Python
-----> Node.js app detected
`),
      both.text,
    );
  });

  it("of a slug that is too large", async () => {
    await yard.app("large");
    await yard.buildpacks("large", pack("Large", {}));
    const large = await build("large", { noise: randomBytes(1_500_000).toString("base64") });
    assert.equal(large.status, "failed");
    assert.match(
      large.text,
      /-----> Compressing\.\.\.\n ! {5}Compiled slug size: 1\.[45]M is too large \(max is 1M\)\.\n ! {5}See: .+\n ! {5}Push failed\n$/,
    );
  });

  it("of a build that does not end, kept after its end and read by byte range", async () => {
    await yard.app("endless");
    await yard.buildpacks("endless", pack("Endless", { compile: "echo begun; sleep 600 & exec sleep 600" }));
    const endless = await build("endless", { a: "" });
    assert.equal(endless.status, "failed");
    assert.match(
      endless.text,
      /begun\n ! {5}The build did not end within 2 seconds; make it shorter\.\n\n ! {5}Push failed\n$/,
    );
    const part = await fetch(endless.output_stream_url, { headers: { Range: "bytes=10-" } });
    assert.ok((await part.text()).endsWith(" !     Push failed\n"));
    assert.deepEqual(yard.host!.boxes.list(), []);
  });
});
