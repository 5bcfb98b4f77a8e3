import { createHash } from "node:crypto";

/**
 * The id of a thing that is not in the store (a stack, a region, a feature): a UUID made from its kind and name,
 * so that it is the same on every Sluice (RFC 9562, version 8).
 */
export function fixedId(kind: string, name: string): string {
  const hash = createHash("sha256").update(`${kind}:${name}`).digest();
  hash[6] = (hash[6]! & 0x0f) | 0x80;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
}
