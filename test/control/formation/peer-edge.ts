import { type Layout, socketPath } from "../../../src/config/layout.ts";
import { FeedReader } from "../../../src/wire/feed.ts";
import { ReconnectingLink } from "../../../src/wire/link.ts";
import { type AppRoute, EDGE_DRAINED, EDGE_HELLO, type Route } from "../../../src/wire/routes.ts";

/** One edge worker's side of the wire; `drains` false: it never says that a removed dyno's requests have ended. */
export class PeerEdge {
  drains: boolean;
  /** Every route that an app had, in order, as `state web.1 web.2`. */
  readonly seen = new Map<string, string[]>();
  #reader = new FeedReader<Route>();
  #link: ReconnectingLink;
  #known = new Map<string, Set<string>>();
  #changed = new Set<() => void>();

  constructor(layout: Layout, worker: number, drains = true) {
    this.drains = drains;
    this.#reader.onChange = (keys) => this.#onChange(keys);
    this.#link = new ReconnectingLink(socketPath(layout, "control-edge"), {
      onOpen: (link) => {
        this.#reader.hello(link);
        link.send(EDGE_HELLO, { worker });
      },
      onMessage: (kind, message) => {
        if (this.#link.link) this.#reader.take(this.#link.link, kind, message);
      },
    });
  }

  #onChange(keys: string[]): void {
    const gone: string[] = [];
    for (const key of new Set([...keys, ...this.#known.keys()])) {
      const route = this.#reader.table.get(key);
      const dynos = new Set(route?.kind === "app" ? route.dynos.map(({ id }) => id) : []);
      for (const id of this.#known.get(key) ?? []) if (!dynos.has(id)) gone.push(id);
      this.#known.set(key, dynos);
      if (route?.kind !== "app") continue;
      const words = [route.state, ...route.dynos.map(({ name }) => name).sort()].join(" ");
      const seen = this.seen.get(route.app) ?? [];
      if (seen.at(-1) !== words) seen.push(words);
      this.seen.set(route.app, seen);
    }
    if (gone.length > 0 && this.drains) this.#link.send(EDGE_DRAINED, { dynos: gone });
    for (const look of this.#changed) look();
  }

  route(app: string): AppRoute | undefined {
    const route = this.#reader.table.get(`app:${app}`);
    return route?.kind === "app" ? route : undefined;
  }

  /** Resolves when `is` holds; looked at after every change of the table. */
  until(is: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!is()) return;
        this.#changed.delete(look);
        resolve();
      };
      this.#changed.add(look);
      look();
    });
  }

  close(): void {
    this.#link.close();
  }
}
