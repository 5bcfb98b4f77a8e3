import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Yard } from "./yard.ts";

const full = process.env.SLUICE_TEST_FULL === "1";
const skip = process.getuid?.() !== 0 && !full ? "boxes with folders of their own need root" : false;

interface Build {
  id: string;
  status: string;
  output_stream_url: string;
  slug: { id: string } | null;
}

describe("builds, sources and slugs by the API", { skip }, () => {
  let yard: Yard;
  let packs: string;
  let archive: Buffer;

  before(async () => {
    packs = mkdtempSync(path.join(os.tmpdir(), "sluice-packs-"));
    const bin = path.join(packs, "plain/bin");
    mkdirSync(bin, { recursive: true });
    writeFileSync(path.join(bin, "detect"), "#!/bin/sh\necho Plain\n");
    writeFileSync(path.join(bin, "compile"), '#!/bin/sh\ncat "$1/a.txt"\n');
    yard = await Yard.open({ SLUICE_BUILDPACK_PATH: packs });
    const source = path.join(packs, "source");
    mkdirSync(source);
    writeFileSync(path.join(source, "a.txt"), "the text\n");
    writeFileSync(path.join(source, "Procfile"), "web: ./a\n");
    archive = execFileSync("tar", ["-czf", "-", "."], { cwd: source });
  });
  after(async () => {
    await yard.close();
    rmSync(packs, { recursive: true, force: true });
  });

  const put = async (body: Buffer): Promise<string> => {
    const { body: made } = await yard.api<{ source_blob: { put_url: string; get_url: string } }>(
      "POST",
      "/sources",
    );
    const answer = await fetch(made.source_blob.put_url, {
      method: "PUT",
      body: new Uint8Array(body),
      headers: { "Content-Type": "" },
    });
    assert.equal(answer.status, 200);
    return made.source_blob.get_url;
  };
  const build = async (app: string, blob: object): Promise<{ build: Build; output: string }> => {
    const started = await yard.api<Build>("POST", `/apps/${app}/builds`, {
      source_blob: blob,
      buildpacks: [{ url: path.join(packs, "plain") }],
    });
    assert.equal(started.status, 201, JSON.stringify(started.body));
    assert.equal(started.body.status, "pending");
    const output = await (await fetch(started.body.output_stream_url)).text();
    const { body } = await yard.api<Build>("GET", `/apps/${app}/builds/${started.body.id}`);
    return { build: body, output: output.replaceAll("\0", "") };
  };

  it("builds a source that was put, twice to the same slug, and streams the output", async () => {
    await yard.app("byapi");
    const url = await put(archive);
    const checksum = `SHA256:${createHash("sha256").update(archive).digest("hex")}`;
    const first = await build("byapi", { url, version: "v1", checksum });
    assert.equal(first.build.status, "succeeded", first.output);
    assert.match(first.output, /-----> Plain app detected\nthe text\n/);
    const again = await build("byapi", { url, version: "v1", checksum });
    const slugs = await Promise.all(
      [first, again].map(
        async ({ build: { slug } }) =>
          (
            await yard.api<{ checksum: string; blob: { url: string } }>(
              "GET",
              `/apps/byapi/slugs/${slug!.id}`,
            )
          ).body,
      ),
    );
    assert.equal(slugs[0]!.checksum, slugs[1]!.checksum);

    const resumed = await fetch(again.build.output_stream_url, { headers: { Range: "bytes=7-" } });
    assert.equal(resumed.status, 206);
    assert.equal(await resumed.text(), again.output.slice(7));
    const events = await fetch(again.build.output_stream_url, { headers: { Accept: "text/event-stream" } });
    assert.match(await events.text(), /^id: \d+\ndata: -----> Building/);
    const wrong = again.build.output_stream_url.replace(/.$/, (last) => (last === "A" ? "B" : "A"));
    assert.equal((await fetch(wrong)).status, 404);
  });

  it("fails with a sentence when the source is not there, is another, or is no archive", async () => {
    await yard.app("badsource");
    const url = await put(archive);
    const other = await build("badsource", { url, checksum: `SHA256:${"0".repeat(64)}` });
    assert.equal(other.build.status, "failed");
    assert.match(other.output, /checksum is SHA256:[0-9a-f]{64}, not the one given/);
    const gone = await build("badsource", { url: `${yard.url}/nothing.tgz` });
    assert.match(gone.output, /could not be fetched: 127\.0\.0\.1:\d+ answered 40\d/);
    const text = await build("badsource", { url: await put(Buffer.from("hello")) });
    assert.match(text.output, /not a \.tar\.gz/);
    const refused = await yard.api("POST", "/apps/badsource/builds", {
      source_blob: { url: "file:///etc/passwd" },
    });
    assert.equal(refused.status, 422);
  });

  it("takes a slug made elsewhere", async () => {
    await yard.app("byslug");
    const { body: slug, status } = await yard.api<{ id: string; blob: { url: string; method: string } }>(
      "POST",
      "/apps/byslug/slugs",
      { process_types: { web: "./a" } },
    );
    assert.equal(status, 201);
    assert.equal(slug.blob.method, "put");
    const answer = await fetch(slug.blob.url, { method: "PUT", body: new Uint8Array(archive) });
    assert.equal(answer.status, 200);
    const { body: read } = await yard.api<{ size: number; blob: { url: string } }>(
      "GET",
      `/apps/byslug/slugs/${slug.id}`,
    );
    assert.equal(read.size, archive.length);
    assert.deepEqual(Buffer.from(await (await fetch(read.blob.url)).arrayBuffer()), archive);
  });

  it("keeps buildpacks in order, by name or URL", async () => {
    await yard.app("order");
    const { body } = await yard.buildpacks("order", "heroku/python", "https://example.com/x.git#v2");
    assert.deepEqual(body, [
      { ordinal: 0, buildpack: { name: "heroku/python", url: "heroku/python" } },
      {
        ordinal: 1,
        buildpack: { name: "https://example.com/x.git#v2", url: "https://example.com/x.git#v2" },
      },
    ]);
    const registry = await (await fetch(`${yard.url}/buildpacks/heroku%2Fnodejs`)).json();
    const { blob_url } = registry as { blob_url: string };
    const { body: set } = await yard.buildpacks("order", blob_url);
    assert.deepEqual(set, [{ ordinal: 0, buildpack: { name: "heroku/nodejs", url: "heroku/nodejs" } }]);
    assert.equal((await yard.buildpacks("order", "heroku/none")).status, 422);
  });

  it("ends a build whose host goes away, and builds again on the next", async () => {
    await yard.app("hosts");
    const url = await put(archive);
    await yard.host!.close();
    const failed = await build("hosts", { url });
    assert.equal(failed.build.status, "failed");
    assert.match(failed.output, /No host is connected/);
    await yard.openHost();
    const good = await build("hosts", { url });
    assert.equal(good.build.status, "succeeded", good.output);
  });
});
