import type { AppLogSettings, LogSession, LogSetting } from "../wire/log-settings.ts";
import { AppStream } from "./app-stream.ts";
import { ProcessNames } from "./process-names.ts";

/** Streams of apps whose settings have not come; more than a late feed can explain is refused. */
const UNKNOWN_LIMIT = 256;

/** An outside log source, found by its token. */
export interface TokenSource {
  stream: AppStream;
  name: string;
}

/** Every app's stream, kept to the settings that control feeds. */
export class Streams {
  readonly names = new ProcessNames();
  #streams = new Map<string, AppStream>();
  #tokens = new Map<string, TokenSource>();
  #sessions = new Map<string, LogSession>();
  #unknown = 0;
  #drainBuffer: number;
  /** Streams that disk does not hold as they are. */
  readonly unsaved = new Set<AppStream>();
  /** Lines that were for no app, or of a source that their sender may not write. */
  refused = 0;
  onConfigured: (stream: AppStream) => void = () => {};
  onRemoved: (stream: AppStream) => void = () => {};

  constructor(drainBuffer: number) {
    this.#drainBuffer = drainBuffer;
  }

  [Symbol.iterator](): IterableIterator<AppStream> {
    return this.#streams.values();
  }

  get(app: string): AppStream | undefined {
    return this.#streams.get(app);
  }

  /** The stream of `app`, made when there is room: a line may be here before the app's settings. */
  open(app: string): AppStream | null {
    const known = this.#streams.get(app);
    if (known) return known;
    if (this.#unknown >= UNKNOWN_LIMIT) return null;
    this.#unknown += 1;
    return this.#make(app);
  }

  #make(app: string): AppStream {
    const stream = new AppStream(app, this.names, (changed) => this.unsaved.add(changed));
    this.#streams.set(app, stream);
    return stream;
  }

  byToken(token: string): TokenSource | undefined {
    return this.#tokens.get(token);
  }

  session(token: string): LogSession | undefined {
    return this.#sessions.get(token);
  }

  /**
   * Takes changed settings.
   * @param table the whole feed by key
   * @param keys the keys that changed
   * @param all true when every key that is not in `table` is gone
   */
  apply(table: ReadonlyMap<string, LogSetting>, keys: readonly string[], all: boolean): void {
    for (const key of keys) {
      const setting = table.get(key);
      if (!setting) this.#remove(key);
      else if (setting.kind === "session") this.#sessions.set(setting.token, setting);
      else this.#configure(setting);
    }
    if (!all) return;
    for (const token of this.#sessions.keys())
      if (!table.has(`session:${token}`)) this.#sessions.delete(token);
    for (const stream of this.#streams.values()) if (!table.has(`app:${stream.app}`)) this.#drop(stream);
  }

  #configure(settings: AppLogSettings): void {
    let stream = this.#streams.get(settings.app);
    if (!stream) stream = this.#make(settings.app);
    else if (!stream.settings) this.#unknown -= 1;
    this.#forgetTokens(stream);
    stream.configure(settings, this.#drainBuffer);
    for (const { token, name } of settings.sources) this.#tokens.set(token, { stream, name });
    this.onConfigured(stream);
  }

  #forgetTokens(stream: AppStream): void {
    for (const { token } of stream.settings?.sources ?? []) this.#tokens.delete(token);
  }

  #remove(key: string): void {
    const colon = key.indexOf(":");
    const id = key.slice(colon + 1);
    if (key.startsWith("session:")) this.#sessions.delete(id);
    const stream = key.startsWith("app:") && this.#streams.get(id);
    if (stream) this.#drop(stream);
  }

  #drop(stream: AppStream): void {
    this.#streams.delete(stream.app);
    if (!stream.settings) this.#unknown -= 1;
    this.#forgetTokens(stream);
    this.unsaved.delete(stream);
    stream.end();
    this.onRemoved(stream);
  }

  /** Drops streams made before `before` (milliseconds since the epoch) for which no settings came: late lines of destroyed apps. */
  sweepUnknown(before: number): void {
    if (this.#unknown === 0) return;
    for (const stream of this.#streams.values()) {
      if (!stream.settings && stream.madeAt < before) this.#drop(stream);
    }
  }

  /** Forgets process names that no ring and no open link (`held`) carries any more, when that pays. */
  sweepNames(held: Set<number>): void {
    if (!this.names.sweepDue) return;
    for (const { ring } of this.#streams.values()) {
      for (let line = ring.first; line < ring.next; line += 1) held.add(ring.process(line));
    }
    this.names.sweep(held);
  }
}
