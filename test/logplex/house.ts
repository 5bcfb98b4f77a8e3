import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import type net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Config, readConfig } from "../../src/config/environment.ts";
import { type Layout, layoutOf, socketPath } from "../../src/config/layout.ts";
import type { Part } from "../../src/config/part.ts";
import { type LogplexOptions, startLogplex } from "../../src/logplex/logplex.ts";
import { FeedPublisher } from "../../src/wire/feed.ts";
import { Link, listenUnix } from "../../src/wire/link.ts";
import { createLogSender, type LogSender } from "../../src/wire/log-sender.ts";
import type { AppLogSettings, DrainSettings, LogSession, LogSetting } from "../../src/wire/log-settings.ts";
import { Source } from "../../src/wire/source.ts";

/** A real Logplex, with a small control beside it that feeds it settings, in a home of its own. */
export class House {
  folder = mkdtempSync(path.join(tmpdir(), "sluice-logplex-"));
  layout: Layout;
  config: Config;
  feed = new FeedPublisher<LogSetting>(1);
  logplex: Part | null = null;
  #senders: LogSender[] = [];
  #server: net.Server | null = null;
  #links = new Set<net.Socket>();
  #acked: (() => void)[] = [];

  constructor(env: NodeJS.ProcessEnv = {}) {
    const sockets = path.join(this.folder, "s");
    mkdirSync(sockets);
    this.config = readConfig({
      SLUICE_HOME: this.folder,
      SLUICE_LOGPLEX_PORT: "0",
      SLUICE_LOGPLEX_HTTP_PORT: "0",
      ...env,
    });
    // readConfig takes an unset or empty port for the default.
    this.config.logplex.syslogPort = 0;
    this.config.logplex.httpPort = 0;
    this.layout = layoutOf(this.folder, { SLUICE_SOCKETS: sockets });
  }

  async control(): Promise<void> {
    this.feed.onAck = () => {
      for (const acked of this.#acked.splice(0)) acked();
    };
    this.#server = await listenUnix(socketPath(this.layout, "control-logplex"), null, (socket) => {
      this.#links.add(socket);
      const link = new Link(socket);
      link.onMessage = (kind, message) => void this.feed.take(link, kind, message);
      link.onClose = () => {
        this.feed.detach(link);
        this.#links.delete(socket);
      };
    });
  }

  async start(options: LogplexOptions = {}): Promise<void> {
    if (!this.#server) await this.control();
    this.logplex = await startLogplex(this.config, this.layout, { keepUser: true, ...options });
    await this.applied();
  }

  get httpPort(): number {
    return this.logplex!.ports.http!;
  }

  get syslogPort(): number {
    return this.logplex!.ports.syslog!;
  }

  /** Resolves when the Logplex has applied everything that was fed. */
  async applied(): Promise<void> {
    const done = (): boolean =>
      [...this.feed.readers].some((link) => this.feed.acknowledged(link) === this.feed.number);
    while (!done()) await new Promise<void>((resolve) => this.#acked.push(resolve));
  }

  async app(id: string, more: Partial<AppLogSettings> = {}): Promise<void> {
    const settings: AppLogSettings = {
      kind: "app",
      app: id,
      name: id,
      lines: 1500,
      bytes: 4 * 1024 * 1024,
      drains: [],
      sources: [],
      ...more,
    };
    this.feed.update([[`app:${id}`, settings]]);
    if (this.logplex) await this.applied();
  }

  async session(app: string, more: Partial<LogSession> = {}): Promise<string> {
    const token = `t-${Math.random().toString(36).slice(2)}`;
    const session: LogSession = {
      kind: "session",
      token,
      app,
      tail: false,
      lines: 100,
      source: null,
      dyno: null,
      expires: Date.now() + 300_000,
      ...more,
    };
    this.feed.update([[`session:${session.token}`, session]]);
    await this.applied();
    return `http://127.0.0.1:${this.httpPort}/sessions/${session.token}`;
  }

  sender(role: "edge" | "host" | "control" = "host"): LogSender {
    const sender = createLogSender(socketPath(this.layout, `logplex-${role}`));
    this.#senders.push(sender);
    return sender;
  }

  /** Writes lines of `web.1`, and resolves when they stand in the ring. */
  async lines(app: string, texts: string[]): Promise<void> {
    const sender = createLogSender(socketPath(this.layout, "logplex-host"));
    const handle = sender.app(app);
    const web = sender.process("web.1");
    for (const text of texts) sender.write(handle, web, Source.Dyno, Date.now() * 1000, Buffer.from(text));
    await sender.close(10_000);
  }

  async stop(): Promise<void> {
    await this.logplex?.stop();
    this.logplex = null;
  }

  async close(): Promise<void> {
    for (const sender of this.#senders) await sender.close(0);
    await this.stop();
    for (const socket of this.#links) socket.destroy();
    if (this.#server) {
      const closed = once(this.#server, "close");
      this.#server.close();
      await closed;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A whole GET: status, headers and body, once the answer has ended. */
export async function get(
  url: string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: string }> {
  const request = http.get(url, { headers });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let body = "";
  response.setEncoding("utf8");
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode!, headers: response.headers, body };
}

/** An answer that stays open: what came so far, and a way to wait for more. */
export class Tail {
  text = "";
  ended = false;
  response: http.IncomingMessage;
  #changed: (() => void)[] = [];

  constructor(response: http.IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      this.text += chunk;
      this.#wake();
    });
    response.on("close", () => {
      this.ended = true;
      this.#wake();
    });
    response.on("error", () => {});
  }

  #wake(): void {
    for (const changed of this.#changed.splice(0)) changed();
  }

  static async open(url: string, headers: http.OutgoingHttpHeaders = {}): Promise<Tail> {
    const [response] = (await once(http.get(url, { headers }), "response")) as [http.IncomingMessage];
    assert.equal(response.statusCode, 200);
    return new Tail(response);
  }

  async until(condition: (text: string) => boolean): Promise<void> {
    while (!condition(this.text)) {
      assert.ok(!this.ended, `the answer ended; it said:\n${this.text.slice(-2000)}`);
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
  }

  close(): void {
    this.response.destroy();
  }
}

let drains = 0;
export const drainSettings = (url: string): DrainSettings => {
  drains += 1;
  return {
    id: `drain-${drains}`,
    token: `d.00000000-0000-4000-8000-${String(drains).padStart(12, "0")}`,
    url,
  };
};
