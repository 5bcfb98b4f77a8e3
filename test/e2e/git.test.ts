import assert from "node:assert/strict";
import { test } from "node:test";
import { run, startSluice } from "./sluice.ts";

/** An app that builds in no time. */
const PAGE = { "index.html": "<p>hello\n" };

test("git pushes over TLS under the private CA, and with the key in the URL", async (t) => {
  const sluice = await startSluice(t);
  const repository = await sluice.repository("", PAGE);
  const { GIT_SSL_CAINFO: _, GIT_SSL_CAPATH: __, ...env } = sluice.clientEnv();
  const git = (...args: string[]) => run("git", args, { cwd: repository, env });

  await sluice.must(["create", "--tls", "safe"], { cwd: repository });
  assert.equal((await git("remote", "get-url", "sluice")).stdout, `${sluice.tls}/safe.git\n`);
  const safe = await git("push", "sluice", "main");
  assert.equal(safe.status, 0, safe.stderr);
  assert.match(safe.stderr, /remote: {8}Released v3/);
  assert.doesNotMatch((await git("config", "--local", "--list")).stdout, new RegExp(sluice.key));

  await sluice.commit(repository, "Second", { "index.html": "<p>again\n" });
  const plain = await git("push", `${sluice.api.replace("//", `//x:${sluice.key}@`)}/safe.git`, "main");
  assert.equal(plain.status, 0, plain.stderr);
  assert.match(plain.stderr, /remote: {8}Released v4/);

  const wrong = await git("push", `${sluice.api.replace("//", "//x:no-key@")}/safe.git`, "main");
  assert.notEqual(wrong.status, 0);
  assert.match(wrong.stderr, /Authentication failed|could not read|invalid credentials/i);

  await sluice.must(["rename", "-a", "safe", "safer"], { cwd: repository });
  assert.equal((await git("remote", "get-url", "sluice")).stdout, `${sluice.tls}/safer.git\n`);
  await sluice.must(["destroy", "safer", "--confirm", "safer"], { cwd: repository });
  assert.equal((await git("remote")).stdout, "");
});

test("a variable that hides the CA from git is told", async (t) => {
  const sluice = await startSluice(t, { env: { GIT_SSL_CAINFO: "/etc/ssl/certs/ca-certificates.crt" } });
  const repository = await sluice.repository("", PAGE);
  const made = await sluice.cli(["create", "--tls", "safe"], { cwd: repository });
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stderr, /^GIT_SSL_CAINFO .*env -u GIT_SSL_CAINFO git push sluice main\n$/);
});
