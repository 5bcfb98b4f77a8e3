import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Yard } from "../builds/yard.ts";
import { BareStack } from "./bare-stack.ts";
import { newestSlug } from "./slugs.ts";

const full = process.env.SLUICE_TEST_FULL === "1";
const missing =
  process.getuid?.() !== 0
    ? "boxes with folders of their own need root"
    : !existsSync("/usr/bin/python3") || !existsSync("/usr/share/python-wheels")
      ? "needs Debian's python3 and python3-venv"
      : null;

/** A wheel with one module, made by Python itself. */
const WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("greeting.py", "WORD = 'hello from a wheel'\\n")
    info = "greeting-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "greeting.py,,\\n" + info + "METADATA,,\\n" + info + "WHEEL,,\\n" + info + "RECORD,,\\n")
`;

describe("the buildpacks in a push", { skip: missing && !full ? missing : false }, () => {
  let yard: Yard;
  let operatorWheels: string;
  before(async () => {
    operatorWheels = mkdtempSync(path.join(os.tmpdir(), "sluice-wheels-"));
    chmodSync(operatorWheels, 0o755);
    execFileSync("python3", ["-c", WHEEL, path.join(operatorWheels, "greeting-1.0-py3-none-any.whl")]);
    yard = await Yard.open({ PIP_FIND_LINKS: operatorWheels, PIP_NO_INDEX: "1" });
  });
  after(async () => {
    await yard.close();
    rmSync(operatorWheels, { recursive: true, force: true });
  });

  it("puts Python and wheels that the app brings along into the slug", async () => {
    await yard.app("python");
    const repo = yard.repository({
      "requirements.txt": "greeting==1.0\n",
      Procfile: "web: python app.py\n",
      "app.py": "",
    });
    const wheels = path.join(repo, "vendor/wheels");
    mkdirSync(wheels, { recursive: true });
    execFileSync("python3", ["-c", WHEEL, path.join(wheels, "greeting-1.0-py3-none-any.whl")]);
    yard.commit(repo, { "runtime.txt": "python-2.7.18\n" });
    const { ok, output } = await yard.push(repo, "python");
    assert.ok(ok, output);
    assert.match(output, /-----> Python app detected\n/);
    assert.match(output, /Python 2\.7\.18 is not to be had on this stack; Python 3\.\d+\.\d+ is used\./);
    assert.match(output, /Installed from the wheels that the app brings along\./);

    const { body: builds } = await yard.api<{ slug: { id: string } }[]>("GET", "/apps/python/builds");
    const { body: slug } = await yard.api<{ blob: { url: string } }>(
      "GET",
      `/apps/python/slugs/${builds[0]!.slug.id}`,
    );
    const unpacked = path.join(yard.home, "unpacked");
    mkdirSync(unpacked);
    const archive = Buffer.from(await (await fetch(slug.blob.url)).arrayBuffer());
    execFileSync("tar", ["-xzf", "-", "-C", unpacked], { input: archive });
    const home = path.join(unpacked, "app/.heroku/python");
    // Its own prefix and libraries, wherever it lies: nothing of this machine's Python is read.
    const said = execFileSync(
      path.join(home, "bin/python"),
      ["-c", "import sys, ssl, sqlite3, greeting; print(sys.prefix, ssl.__file__, greeting.WORD)"],
      { env: { LD_LIBRARY_PATH: path.join(home, "lib") }, encoding: "utf8" },
    );
    assert.match(said, new RegExp(`^${home} ${home}/lib/python[\\d.]+/ssl\\.py hello from a wheel\\n$`));
    assert.match(
      readFileSync(path.join(unpacked, "app/.profile.d/python.sh"), "utf8"),
      /PYTHONUNBUFFERED=true/,
    );
  });

  it("installs from the operator's wheels, by the default process type, and runs on a stack without Python", async () => {
    await yard.app("operator");
    const repo = yard.repository({
      "requirements.txt": "greeting==1.0\n",
      ".python-version": "3.7 # long ago\n",
      "app.py": "import greeting, sys, ssl, sqlite3\nprint(greeting.WORD, sys.prefix)\n",
    });
    const { ok, output } = await yard.push(repo, "operator");
    assert.ok(ok, output);
    assert.match(output, / ! {5}Python 3\.7 is not to be had on this stack; Python 3\.\d+\.\d+ is used\./);
    assert.doesNotMatch(output, /collectstatic/);
    const uid = 290_002;
    const built = await newestSlug(yard, "operator", uid);
    assert.deepEqual(built.processTypes, { web: "python app.py" });
    const home = path.join(yard.home, "bare");
    mkdirSync(home, { mode: 0o711 });
    const stack = await BareStack.open(home);
    const ran = await stack.run(built.lower, uid, built.processTypes.web!).finally(() => stack.close());
    assert.equal(ran.output, "hello from a wheel /app/.heroku/python\n");
    assert.equal(ran.status, 0);
  });

  it("leaves Django's collectstatic to apps that have Django, and takes its server as default", async () => {
    await yard.app("django");
    const repo = yard.repository({ "manage.py": "raise SystemExit(9)\n", "requirements.txt": "" });
    const { ok, output } = await yard.push(repo, "django");
    assert.ok(ok, output);
    assert.doesNotMatch(output, /collectstatic/);
    assert.deepEqual((await newestSlug(yard, "django", 290_002)).processTypes, {
      web: "python manage.py runserver --noreload 0.0.0.0:$PORT",
    });
  });

  it("says what to do about a version file it cannot read, and two lockfiles", async () => {
    await yard.app("words");
    const python = yard.repository({ "app.py": "", "runtime.txt": "the newest\n" });
    assert.match((await yard.push(python, "words")).output, /runtime\.txt does not name a Python version/);
    const node = yard.repository({ "package.json": "{}", "yarn.lock": "", "package-lock.json": "{}" });
    const locks = await yard.push(node, "words");
    assert.match(locks.output, /Two different lockfiles found: package-lock\.json and yarn\.lock/);
    assert.match(locks.output, /failed to compile Node\.js app\./);
    const broken = yard.repository({ "package.json": "{name: x" });
    assert.match((await yard.push(broken, "words")).output, /Unable to parse package\.json/);
  });
});
