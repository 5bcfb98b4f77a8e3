import assert from "node:assert/strict";
import { it } from "node:test";
import { makeDiagnostics, redact } from "../../src/control/diagnostics.ts";

it("diagnostics hold no secret, wherever it stands", () => {
  const lines: string[] = [];
  const log = makeDiagnostics("info", ["the-api-key"], (line) => void lines.push(line));
  const error = new Error("cannot reach https://ada:pass%40word@example.com/x");
  log.error({ err: error, token: "t.secret-token", drain: { url: "syslog://h:1?k=secret-query" } }, "no");
  log.info(
    { headers: { authorization: "Bearer secret-bearer" } },
    "sent Basic c2VjcmV0LWJhc2lj with the-api-key",
  );
  const text = lines.join("");
  for (const secret of [
    "pass%40word",
    "secret-token",
    "secret-query",
    "secret-bearer",
    "c2Vj",
    "the-api-key",
  ]) {
    assert.ok(!text.includes(secret), secret);
  }
  assert.ok(text.includes("https://[redacted]@example.com/x"));
  assert.equal(JSON.parse(lines[0]!).part, "control");
});

it("redaction leaves plain words and URLs alone", () => {
  const plain = 'GET http://127.0.0.1:5000/apps "a@b.example" Basic dynos';
  assert.equal(redact(plain), plain);
});
