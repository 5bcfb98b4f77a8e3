import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

/*
 * A sealed value:  key id (4 bytes) | nonce (12) | tag (16) | AES-256-GCM text
 * The additional data is `table.column:row id`, so a value moved to another row or column does not open.
 */
const KEY_ID = 4;
const NONCE = 12;
const TAG = 16;
/** A shorter SLUICE_SECRET_KEY could be guessed. */
const SHORTEST_KEY = 16;

/** Encrypts and decrypts the store's secrets under one key. */
export class Seal {
  #key: Buffer;
  #id: Buffer;

  /** @param secret the text of SLUICE_SECRET_KEY or of the key file; the AES key is derived from it (HKDF). */
  constructor(secret: string) {
    this.#key = Buffer.from(hkdfSync("sha256", secret, "", "sluice store seal", 32));
    this.#id = createHash("sha256").update("key id").update(this.#key).digest().subarray(0, KEY_ID);
  }

  /** @param bound `table.column:row id` */
  seal(bound: string, text: string): Buffer {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(bound));
    const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([this.#id, nonce, cipher.getAuthTag(), body]);
  }

  /** @throws Error when `sealed` was not sealed for `bound` by this key. */
  unseal(bound: string, sealed: Buffer): string {
    if (!sealed.subarray(0, KEY_ID).equals(this.#id)) {
      throw new Error(
        `The secret in ${bound.split(":")[0]} was written under another key; give the SLUICE_SECRET_KEY (or control's secret-key file) that this database was made with.`,
      );
    }
    const nonce = sealed.subarray(KEY_ID, KEY_ID + NONCE);
    const text = KEY_ID + NONCE + TAG;
    const decipher = createDecipheriv("aes-256-gcm", this.#key, nonce, { authTagLength: TAG })
      .setAAD(Buffer.from(bound))
      .setAuthTag(sealed.subarray(KEY_ID + NONCE, text));
    return Buffer.concat([decipher.update(sealed.subarray(text)), decipher.final()]).toString("utf8");
  }
}

/**
 * The secret of the seal: SLUICE_SECRET_KEY, else the key file, which is made (0600) when it is not there.
 * @throws Error when the variable is too short, or the file cannot be read or made.
 */
export function readSecret(env: NodeJS.ProcessEnv, keyFile: string): string {
  const given = env.SLUICE_SECRET_KEY;
  if (given) {
    if (given.length < SHORTEST_KEY) {
      throw new Error(`SLUICE_SECRET_KEY is too short; it must have at least ${SHORTEST_KEY} characters.`);
    }
    return given;
  }
  try {
    writeFileSync(keyFile, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const kept = readFileSync(keyFile, "utf8").trim();
  if (kept.length < SHORTEST_KEY) {
    throw new Error(`${keyFile} is damaged; put back the key that this database was made with.`);
  }
  return kept;
}
