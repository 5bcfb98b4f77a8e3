import { LRUCache } from "lru-cache";
import type { AppRoute, CertificateRoute, Route } from "../wire/routes.ts";
import { App } from "./app.ts";
import type { Dyno } from "./dyno.ts";

/** Look-ups that were not exact (capitals, a wildcard, nobody's host) are remembered, so a flood of them stays cheap. */
const INEXACT_LIMIT = 10_000;
const NOBODY = Symbol("nobody");

/** Who serves which host: the routes feed, made fit for one look-up a request. */
export class RoutingTable {
  readonly apps = new Map<string, App>();
  readonly certificates = new Map<string, CertificateRoute>();
  #hosts = new Map<string, App>();
  #inexact = new LRUCache<string, App | typeof NOBODY>({ max: INEXACT_LIMIT });
  #logHandle: (app: string) => number;
  /** The last request to a removed dyno has ended here. */
  onDrained: (dyno: string) => void = () => {};
  onCertificates: () => void = () => {};

  constructor(logHandle: (app: string) => number) {
    this.#logHandle = logHandle;
  }

  /** The app that serves the Host header's value `host`; null when none does. */
  find(host: string): App | null {
    return this.#hosts.get(host) ?? this.#findInexact(host);
  }

  #findInexact(host: string): App | null {
    const colon = host.indexOf(":");
    const exact = colon > 0 ? this.#hosts.get(host.slice(0, colon)) : undefined;
    if (exact !== undefined) return exact;
    const known = this.#inexact.get(host);
    if (known !== undefined) return known === NOBODY ? null : known;
    let name = host.toLowerCase();
    // An IPv6 literal holds colons of its own; no app has one for its name.
    if (!name.startsWith("[")) name = name.replace(/:\d*$/, "");
    if (name.endsWith(".")) name = name.slice(0, -1);
    const dot = name.indexOf(".");
    const app = this.#hosts.get(name) ?? (dot > 0 ? this.#hosts.get(`*${name.slice(dot)}`) : undefined);
    this.#inexact.set(host, app ?? NOBODY);
    return app ?? null;
  }

  /** Brings in the changed `keys` of the feed's table; with `all`, what is not in it any more goes. */
  apply(table: ReadonlyMap<string, Route>, keys: Iterable<string>, all: boolean): void {
    let certificates = false;
    for (const key of keys) {
      const route = table.get(key);
      if (route?.kind === "app") this.#setApp(key, route);
      else if (route?.kind === "certificate") {
        this.certificates.set(key, route);
        certificates = true;
      } else {
        this.#removeApp(key);
        certificates = this.certificates.delete(key) || certificates;
      }
    }
    if (all) {
      for (const key of [...this.apps.keys()]) if (!table.has(key)) this.#removeApp(key);
      for (const key of [...this.certificates.keys()]) {
        if (!table.has(key)) certificates = this.certificates.delete(key) || certificates;
      }
    }
    this.#inexact.clear();
    if (certificates) this.onCertificates();
  }

  #setApp(key: string, route: AppRoute): void {
    let app = this.apps.get(key);
    if (app) this.#dropHosts(app);
    else {
      app = new App(route, this.#logHandle(route.app));
      this.apps.set(key, app);
    }
    app.update(route, (dyno) => this.#drained(dyno));
    for (const host of route.hosts) this.#hosts.set(host.toLowerCase(), app);
    app.wake();
  }

  #removeApp(key: string): void {
    const app = this.apps.get(key);
    if (!app) return;
    this.#dropHosts(app);
    this.apps.delete(key);
    // Whoever waits for it looks its host up again and finds nothing.
    app.update({ ...app.route, state: "none", dynos: [], hosts: [] }, (dyno) => this.#drained(dyno));
    app.wake();
  }

  #dropHosts(app: App): void {
    for (const host of app.route.hosts) {
      const name = host.toLowerCase();
      if (this.#hosts.get(name) === app) this.#hosts.delete(name);
    }
  }

  #drained(dyno: Dyno): void {
    // The same id at another address is the same dyno: nothing to tell.
    for (const app of this.apps.values()) {
      if (app.dynos.some((other) => other.id === dyno.id)) return;
    }
    this.onDrained(dyno.id);
  }
}
