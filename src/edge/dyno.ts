import type { RouteDyno } from "../wire/routes.ts";
import { time } from "./clock.ts";
import type { DynoConnection } from "./dyno-connection.ts";
import { POOL_LIMIT } from "./limits.ts";

/** One web dyno as this worker knows it: its idle connections, what is under way there, and whether it may be chosen. */
export class Dyno {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Requests and WebSockets under way. */
  inFlight = 0;
  /** Left alone until then (`performance.now()`), after it refused or did not answer. */
  quarantinedUntil = 0;
  /** Gone from the table: never chosen again. */
  removed = false;
  /** Called once, when it is removed and nothing is under way. */
  onDrained: (dyno: Dyno) => void = () => {};
  #idle: DynoConnection[] = [];

  constructor(route: RouteDyno) {
    this.id = route.id;
    this.name = route.name;
    this.address = route.address;
    this.port = route.port;
  }

  /** An idle connection used no longer ago than `fresh` ms, the youngest first; null when there is none. */
  take(fresh: number): DynoConnection | null {
    const idle = this.#idle;
    if (idle.length === 0) return null;
    const connection = idle[idle.length - 1]!;
    if (time.now - connection.idleSince > fresh) return null;
    idle.pop();
    return connection;
  }

  /** Keeps a connection for the next request; false when it may not be kept. */
  keep(connection: DynoConnection): boolean {
    if (this.removed || this.#idle.length >= POOL_LIMIT) return false;
    this.#idle.push(connection);
    return true;
  }

  forget(connection: DynoConnection): void {
    const at = this.#idle.lastIndexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  enter(): void {
    this.inFlight++;
  }

  leave(): void {
    this.inFlight--;
    if (this.removed && this.inFlight === 0) this.onDrained(this);
  }

  /** Takes the dyno out of choice; what is under way ends by itself. */
  remove(): void {
    if (this.removed) return;
    this.removed = true;
    this.closeIdle();
    if (this.inFlight === 0) this.onDrained(this);
  }

  closeIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }
}
