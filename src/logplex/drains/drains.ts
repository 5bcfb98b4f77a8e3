import type { AppStream, DrainPlace } from "../app-stream.ts";
import { Drain, type DrainContext } from "./drain.ts";

const TICK_MS = 1000;

/** Every drain of every app, kept to the settings. */
export class Drains {
  #context: DrainContext;
  #byStream = new Map<AppStream, Map<string, Drain>>();
  #tick: NodeJS.Timeout;
  /** Told of a drain whose URL cannot be used. */
  onUnusable: (message: string) => void = () => {};

  constructor(context: DrainContext) {
    this.#context = context;
    this.#tick = setInterval(() => {
      const now = Date.now();
      for (const drain of this) drain.tick(now);
    }, TICK_MS);
  }

  *[Symbol.iterator](): IterableIterator<Drain> {
    for (const drains of this.#byStream.values()) yield* drains.values();
  }

  /** Makes a stream's drains what its settings say; one that stays keeps its place. */
  configure(stream: AppStream): void {
    const wanted = stream.settings?.drains ?? [];
    const drains = this.#byStream.get(stream) ?? new Map<string, Drain>();
    this.#byStream.set(stream, drains);
    const places = new Map<string, DrainPlace>(stream.places);
    for (const [id, drain] of drains) {
      const now = wanted.find((settings) => settings.id === id);
      if (now && now.url === drain.settings.url && now.token === drain.settings.token) continue;
      if (now) places.set(id, drain.place);
      drain.end();
      drains.delete(id);
    }
    stream.places.clear();
    for (const settings of wanted) {
      if (drains.has(settings.id)) continue;
      try {
        const drain = new Drain(settings, stream, this.#context, places.get(settings.id) ?? null);
        drains.set(settings.id, drain);
        drain.wake();
      } catch (error) {
        this.onUnusable((error as Error).message);
      }
    }
    if (drains.size === 0) this.#byStream.delete(stream);
  }

  /** Places of a stream's drains, by id, to be written down with its lines. */
  places(stream: AppStream): [string, DrainPlace][] {
    const drains = this.#byStream.get(stream);
    if (!drains) return [...stream.places];
    return [...drains].map(([id, drain]) => [id, drain.place]);
  }

  /** A stream is gone, and its drains with it. */
  remove(stream: AppStream): void {
    for (const drain of this.#byStream.get(stream)?.values() ?? []) drain.end();
    this.#byStream.delete(stream);
  }

  /** Stops looking after them: tells the streams what is untold, so that it can be saved. */
  stop(): void {
    clearInterval(this.#tick);
    for (const drain of this) drain.tell(Date.now());
  }

  end(): void {
    for (const drain of this) drain.end();
  }
}
