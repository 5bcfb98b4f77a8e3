import type { Logger } from "pino";
import type { Config } from "../config/environment.ts";
import type { Layout } from "../config/layout.ts";
import type { FeedPublisher } from "../wire/feed.ts";
import type { LogSetting } from "../wire/log-settings.ts";
import type { DynoOrder } from "../wire/orders.ts";
import type { Route } from "../wire/routes.ts";
import type { Accounts } from "./accounts.ts";
import type { AppLog } from "./app-log.ts";
import type { Builds } from "./builds/builds.ts";
import type { Formation } from "./formation/formation.ts";
import type { Hosts } from "./hosts.ts";
import type { Leavings } from "./leavings.ts";
import type { Links } from "./links.ts";
import type { LogSettings } from "./log-settings.ts";
import type { RateLimit } from "./rate.ts";
import type { Releases } from "./releases/releases.ts";
import type { Rendezvous } from "./rendezvous/rendezvous.ts";
import type { Store } from "./store/store.ts";
import type { Authority } from "./tls/authority.ts";
import type { RouteCertificates } from "./tls/route-certificates.ts";

/** Everything that control's rooms share; made once at start, in this order. */
export interface Control {
  config: Config;
  layout: Layout;
  log: Logger;
  store: Store;
  accounts: Accounts;
  /** Writes `app[api]` and `heroku[…]` lines of apps into the Logplex. */
  appLog: AppLog;
  feeds: {
    routes: FeedPublisher<Route>;
    orders: FeedPublisher<DynoOrder>;
    logSettings: FeedPublisher<LogSetting>;
  };
  links: Links;
  /** The private CA: certificates for control's own ports and the apps' host names. */
  authority: Authority;
  routeCertificates: RouteCertificates;
  logSettings: LogSettings;
  rate: RateLimit;
  hosts: Hosts;
  rendezvous: Rendezvous;
  releases: Releases;
  formation: Formation;
  builds: Builds;
  leavings: Leavings;
}
