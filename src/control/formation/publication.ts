import { isDeepStrictEqual } from "node:util";
import type { FeedPublisher } from "../../wire/feed.ts";
import type { Attachment, DynoOrder } from "../../wire/orders.ts";
import type { Route } from "../../wire/routes.ts";
import type { Links } from "../links.ts";
import type { Store } from "../store/store.ts";
import { routeOf } from "./app-route.ts";
import { orderOf } from "./dyno-order.ts";
import type { AppFormation, DynoRow } from "./rows.ts";

/** An edge that does not acknowledge in this time is slow or going; a push does not wait for it. */
const ACKNOWLEDGE_MS = 2000;

/** Keeps the feeds of orders and routes equal to the rows. */
export class Publication {
  #store: Store;
  #orders: FeedPublisher<DynoOrder>;
  #routes: FeedPublisher<Route>;
  #links: Links;
  #appDomain: string;
  /** Ids of the dynos in the orders feed, by app. */
  #ordered = new Map<string, Set<string>>();
  #applied = new Set<() => void>();
  /** Terminals of attached one-offs; they live as long as this control. */
  readonly attachments = new Map<string, Attachment>();

  constructor(
    store: Store,
    feeds: { orders: FeedPublisher<DynoOrder>; routes: FeedPublisher<Route> },
    links: Links,
    appDomain: string,
  ) {
    this.#store = store;
    this.#orders = feeds.orders;
    this.#routes = feeds.routes;
    this.#links = links;
    this.#appDomain = appDomain;
    const look = (): void => {
      for (const wake of this.#applied) wake();
    };
    links.onApplied = look;
  }

  /** Publishes one app's routes, then its orders. */
  publish(formation: AppFormation): void {
    const { app } = formation;
    const key = `app:${app.id}`;
    const route = routeOf(formation, this.#unsealed(`apps.config:${app.id}`, app.config));
    if (!isDeepStrictEqual(this.#routes.get(key), route)) this.#routes.update([[key, route]]);

    const wanted = formation.dynos.filter(isOrdered);
    const before = this.#ordered.get(app.id) ?? new Set();
    const after = new Set(wanted.map(({ id }) => id));
    const set = wanted
      .filter(({ id }) => !before.has(id))
      .map((dyno): [string, DynoOrder] => [dyno.id, this.#order(formation, dyno)]);
    const gone = [...before].filter((id) => !after.has(id));
    this.#ordered.set(app.id, after);
    if (set.length > 0 || gone.length > 0) this.#orders.update(set, gone);
  }

  #order(formation: AppFormation, dyno: DynoRow): DynoOrder {
    const release = formation.releases.get(dyno.releaseId)!;
    return orderOf(
      formation,
      dyno,
      this.#unsealed(`releases.config:${release.id}`, release.config),
      this.#unsealed(`dynos.env:${dyno.id}`, dyno.env),
      this.attachments.get(dyno.id) ?? null,
      this.#appDomain,
    );
  }

  #unsealed(bound: string, sealed: Buffer | null): Record<string, string> {
    return sealed ? JSON.parse(this.#store.unseal(bound, sealed)) : {};
  }

  /** Takes an app away: its dynos stop, its hosts are unknown. */
  withdraw(appId: string): void {
    const key = `app:${appId}`;
    if (this.#routes.get(key)) this.#routes.update([], [key]);
    const gone = [...(this.#ordered.get(appId) ?? [])];
    this.#ordered.delete(appId);
    if (gone.length > 0) this.#orders.update([], gone);
  }

  /** A host runs a dyno that nobody ordered: says so again. */
  disown(dyno: string): void {
    this.#orders.update([], [dyno]);
  }

  isOrdered(dyno: string): boolean {
    return this.#orders.get(dyno) !== undefined;
  }

  /** Resolves when every edge that is connected has applied the routes published until now. */
  async applied(): Promise<void> {
    const number = this.#routes.number;
    const pending = (): boolean => {
      for (const { link } of this.#links.edges) if (this.#routes.acknowledged(link) < number) return true;
      return false;
    };
    if (!pending()) return;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#applied.delete(look);
        resolve();
      };
      const look = (): void => {
        if (!pending()) finish();
      };
      const timer = setTimeout(finish, ACKNOWLEDGE_MS);
      this.#applied.add(look);
    });
  }
}

/** Rows whose dyno shall run now. */
const isOrdered = ({ phase }: DynoRow): boolean => phase !== "queued" && phase !== "stopping";
