import { EXIT, Failure } from "./failure.ts";
import { readTarget } from "./target.ts";

/** What git asks is a few short lines. */
const MAX_REQUEST = 64 * 1024;

async function readRequest(input: AsyncIterable<Uint8Array>): Promise<Map<string, string>> {
  let text = "";
  for await (const chunk of input) {
    text += chunk;
    if (text.length > MAX_REQUEST) break;
  }
  return new Map(
    text
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

/**
 * Speaks git's credential protocol (gitcredentials(7)): the key goes only to the server that it belongs to.
 * Every push waits for this, so it loads nothing of the rest of the command line. Returns the exit status.
 */
export async function answerGit(operation: string): Promise<number> {
  // `store` and `erase`: the key is kept elsewhere.
  if (operation !== "get") return EXIT.ok;
  try {
    const request = await readRequest(process.stdin);
    const { url, tlsUrl, key } = readTarget(process.env);
    const asked = `${request.get("protocol")}://${request.get("host")}`;
    if (asked === url || asked === tlsUrl) process.stdout.write(`username=sluice\npassword=${key}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`sluice: ${error.message}\n`);
    return error.status;
  }
}
