import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { CertificateRoute } from "../wire/routes.ts";
import type { Pipeline } from "./front.ts";
import { UwsFront } from "./fronts/uws.ts";
import type { Anchor } from "./fronts/uws-anchor.ts";
import { type TemplatedApp, uws } from "./fronts/uws-library.ts";

/** Names without a certificate of their own that are given the fallback's; a flood of made-up names gets none. */
const UNKNOWN_NAMES_LIMIT = 1000;
/** Changes that come in a burst make one new listener. */
const SETTLE_MS = 50;

/**
 * HTTPS on one port. Certificates come in the routes feed and are never on disk: the library wants names of
 * files, so each lies in a private folder in memory for the moment of being read. After a restart of its own
 * the worker refuses handshakes until control has sent the certificates again.
 *
 * A name's certificate cannot be taken out of the library under open connections (they point to it). So a new
 * name is added, and any other change makes a new listener beside the old one, whose connections end by themselves.
 */
export class TlsListener {
  #pipeline: Pipeline;
  #anchor: Anchor;
  #host: string;
  #fronts: UwsFront[] = [];
  #port: number;
  /** What each name is served with. */
  #served = new Map<string, CertificateRoute>();
  #fallback: CertificateRoute | null = null;
  #unknown = new Set<string>();
  #settling: NodeJS.Timeout | null = null;
  /** Hears of what could not be done. */
  onProblem: (message: string) => void = () => {};

  constructor(pipeline: Pipeline, anchor: Anchor, host: string, port: number) {
    this.#pipeline = pipeline;
    this.#anchor = anchor;
    this.#host = host;
    this.#port = port;
  }

  get port(): number {
    return this.#port;
  }

  /** Opens the port; false when it cannot be bound. */
  listen(): boolean {
    return this.#replace([], null);
  }

  /** Takes the certificates as they are now. */
  update(certificates: Iterable<CertificateRoute>): void {
    const all = [...certificates];
    if (this.#settling) clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = null;
      this.#settle(all);
    }, SETTLE_MS);
  }

  #settle(all: CertificateRoute[]): void {
    const wanted = namesOf(all);
    const fallback = all.find((certificate) => certificate.fallback) ?? null;
    const changed =
      !same(fallback, this.#fallback) ||
      [...this.#served].some(([name, served]) => !same(served, wanted.get(name) ?? null)) ||
      // Shown the fallback so far: it would stay so.
      [...this.#unknown].some((name) => wanted.has(name) || wanted.has(`*${name.slice(name.indexOf("."))}`));
    if (changed) {
      if (this.#replace([...wanted], fallback)) return;
      this.onProblem(
        `The certificates have changed, and the port ${this.#port} cannot be bound a second time: restart the edge to serve the new ones.`,
      );
    }
    const front = this.#fronts.at(-1)!;
    for (const [name, certificate] of wanted) {
      if (!this.#served.has(name)) this.#add(front, name, certificate);
    }
  }

  /** Puts a new listener beside the old one, then closes that. */
  #replace(wanted: [string, CertificateRoute][], fallback: CertificateRoute | null): boolean {
    const app = this.#construct(fallback);
    const front = new UwsFront(this.#pipeline, this.#anchor, app, true);
    const before = this.#fronts.at(-1);
    const servedBefore = this.#served;
    this.#served = new Map();
    for (const [name, certificate] of wanted) this.#add(front, name, certificate);
    if (!front.listen(this.#host, this.#port)) {
      front.close();
      this.#served = servedBefore;
      return false;
    }
    this.#fallback = fallback;
    this.#unknown.clear();
    app.missingServerName((name) => {
      // A listener that has been replaced goes on with its own certificates.
      if (fallback === null || front !== this.#fronts.at(-1)) return;
      if (this.#unknown.size >= UNKNOWN_NAMES_LIMIT) return;
      this.#unknown.add(name);
      this.#serve(front, name, fallback);
    });
    before?.closeListener();
    this.#fronts.push(front);
    this.#port = front.port;
    return true;
  }

  /** The library's app with `fallback` for clients that name no host; without it they are refused. */
  #construct(fallback: CertificateRoute | null): TemplatedApp {
    if (fallback !== null) {
      try {
        return withFiles(fallback, (files) => uws.SSLApp(files));
      } catch {
        this.onProblem(`The certificate ${fallback.id} or its key cannot be read; it is left out.`);
      }
    }
    return uws.SSLApp({});
  }

  #add(front: UwsFront, name: string, certificate: CertificateRoute): void {
    this.#served.set(name, certificate);
    this.#serve(front, name, certificate);
  }

  #serve(front: UwsFront, name: string, certificate: CertificateRoute): void {
    withFiles(certificate, (files) => front.app.addServerName(name, files));
    front.app.domain(name);
    front.route(front.app);
    front.app.domain("");
  }

  closeListener(): void {
    if (this.#settling) clearTimeout(this.#settling);
    this.#settling = null;
    for (const front of this.#fronts) front.closeListener();
  }

  close(): void {
    this.closeListener();
    for (const front of this.#fronts) front.close();
  }
}

function same(one: CertificateRoute | null, other: CertificateRoute | null): boolean {
  return one?.certificate === other?.certificate && one?.key === other?.key;
}

/** Which certificate each name is served with; a later one of the feed wins, the fallback's names come first. */
function namesOf(all: CertificateRoute[]): Map<string, CertificateRoute> {
  const names = new Map<string, CertificateRoute>();
  for (const certificate of all.filter((one) => one.fallback)) {
    for (const host of certificate.hosts) names.set(host.toLowerCase(), certificate);
  }
  for (const certificate of all.filter((one) => !one.fallback)) {
    for (const host of certificate.hosts) names.set(host.toLowerCase(), certificate);
  }
  return names;
}

/** Memory that looks like a folder, where the system has it. */
const MEMORY = "/dev/shm";

/** Calls `use` with the names of files that hold the certificate and its key, and removes them at once. */
function withFiles<T>(
  certificate: CertificateRoute,
  use: (files: { cert_file_name: string; key_file_name: string }) => T,
): T {
  const folder = mkdtempSync(path.join(existsSync(MEMORY) ? MEMORY : os.tmpdir(), "sluice-edge-"));
  try {
    const files = {
      cert_file_name: path.join(folder, "certificate.pem"),
      key_file_name: path.join(folder, "key.pem"),
    };
    writeFileSync(files.cert_file_name, certificate.certificate, { mode: 0o600 });
    writeFileSync(files.key_file_name, certificate.key, { mode: 0o600 });
    return use(files);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
