import { randomInt } from "node:crypto";
import net from "node:net";

const FIRST = 10_000;
const LAST = 60_000;

/** A PORT for a dyno: any where it has a network of its own, else one that nobody on the machine holds now. */
export async function freePort(own: boolean): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    if (own || (await isFree(port))) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () => server.close(() => resolve(true)));
  });
}
