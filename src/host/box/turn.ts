import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const RETRY_MS = 10;
/** Whoever holds the turn longer than this is not one of us. */
const WAIT_MS = 10_000;

/**
 * Runs `work` while no other Sluice in this network namespace runs its own under the same `name`. An abstract
 * socket is the lock: the kernel frees it whatever becomes of its holder.
 */
export async function inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const lock = await hold(`\0${name}`);
    if (!lock && Date.now() < until) {
      await pause(RETRY_MS);
      continue;
    }
    try {
      return await work();
    } finally {
      lock?.close();
    }
  }
}

/** The lock, or null when another has it. */
function hold(path: string): Promise<net.Server | null> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.destroy());
    server.on("error", () => resolve(null));
    server.listen(path, () => resolve(server));
  });
}
