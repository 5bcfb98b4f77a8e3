import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { readConfig } from "../../src/config/environment.ts";
import { openStore } from "../../src/control/store/postgres.ts";
import type { Store } from "../../src/control/store/store.ts";
import { apiNames } from "../../src/control/tls/api-certificate.ts";
import { openAuthority } from "../../src/control/tls/authority.ts";
import { startPostgres, type TestPostgres } from "../postgres.ts";

describe("the private CA", () => {
  let postgres: TestPostgres;
  let store: Store;
  let folder: string;
  before(async () => {
    postgres = await startPostgres();
    store = await openStore({ url: postgres.url, secret: "a secret of the tests" });
    folder = mkdtempSync(path.join(os.tmpdir(), "sluice-ca-"));
  });
  after(async () => {
    await store.close();
    await postgres.stop();
    rmSync(folder, { recursive: true });
  });

  it("is made once, also by two at the same time, and lies where all can read it", async () => {
    const [file, other] = [path.join(folder, "ca.pem"), path.join(folder, "other.pem")];
    writeFileSync(file, "");
    const { ino } = statSync(file);
    const [one, two] = await Promise.all([openAuthority(store, file), openAuthority(store, other)]);
    assert.equal(one.certificate, two.certificate);
    assert.equal(readFileSync(file, "utf8"), one.certificate);
    // In place: the folder may be another user's.
    assert.equal(statSync(file).ino, ino);
    assert.equal(statSync(other).mode & 0o777, 0o644);
    const ca = new X509Certificate(one.certificate);
    assert.ok(ca.ca && ca.verify(ca.publicKey));
    assert.ok(Date.parse(ca.validTo) - Date.now() > 3649 * 86_400_000);
  });

  it("keeps its keys sealed", async () => {
    const { rows } = await store.pool.query("SELECT key FROM certificates");
    for (const { key } of rows) assert.ok(!key.includes("PRIVATE KEY"));
  });

  it("keeps a certificate, and makes it anew for other hosts and before it ends", async () => {
    const authority = await openAuthority(store, path.join(folder, "ca.pem"));
    const hosts = ["localhost", "127.0.0.1", "::1", "*.example.com"];
    const first = await authority.certify("api", hosts);
    assert.deepEqual((await authority.certify("api", hosts)).certificate, first.certificate);
    const leaf = new X509Certificate(first.certificate);
    assert.ok(leaf.verify(new X509Certificate(authority.certificate).publicKey) && !leaf.ca);
    assert.equal(leaf.checkIP("127.0.0.1"), "127.0.0.1");
    assert.ok(leaf.checkIP("::1"));
    assert.ok(leaf.checkHost("a.example.com"));
    assert.ok(leaf.checkPrivateKey((await import("node:crypto")).createPrivateKey(first.key)));
    const second = await authority.certify("api", [...hosts, "sluice.example.org"]);
    assert.notEqual(second.certificate, first.certificate);
    await store.pool.query(
      "UPDATE certificates SET expires_at = now() + interval '29 days' WHERE name = 'api'",
    );
    const third = await authority.certify("api", [...hosts, "sluice.example.org"]);
    assert.notEqual(third.certificate, second.certificate);
    assert.ok(third.expires.getTime() - Date.now() > 300 * 86_400_000);
    await authority.discard("api");
    assert.equal((await store.pool.query("SELECT 1 FROM certificates WHERE name = 'api'")).rowCount, 0);
  });

  it("certifies loopback, the address that is listened on and the operator's names", () => {
    const names = (env: Record<string, string>) => apiNames(readConfig({ SLUICE_HOME: folder, ...env }));
    assert.deepEqual(names({}), ["localhost", "127.0.0.1", "::1"]);
    assert.deepEqual(
      names({ SLUICE_API_HOST: "0.0.0.0", SLUICE_API_NAMES: "Sluice.example.com, 10.1.2.3" }),
      ["localhost", "127.0.0.1", "::1", "sluice.example.com", "10.1.2.3"],
    );
    assert.ok(names({ SLUICE_API_HOST: "192.0.2.7" }).includes("192.0.2.7"));
  });
});
