import { FIRST_OWN_KIND } from "./feed.ts";

/** What the edge may do for an app. `up` needs at least one dyno in `dynos`. */
export type AppState = "up" | "starting" | "crashed" | "idle" | "none" | "maintenance" | "blank";

/** One web dyno that takes requests. */
export interface RouteDyno {
  id: string;
  /** `web.1` */
  name: string;
  /** An IP address; never assumed to be loopback. */
  address: string;
  port: number;
}

/** Record of one app in the routes feed; its key is `app:<app id>`. */
export interface AppRoute {
  kind: "app";
  app: string;
  name: string;
  /** Exact host names in lower case, without port. */
  hosts: string[];
  state: AppState;
  dynos: RouteDyno[];
  /** Web dynos that the formation asks for; bounds the open requests (H11) and the tries to connect. */
  quantity: number;
  /** Seconds that a request waits for a starting dyno before H20. */
  bootSeconds: number;
  errorPage: string | null;
  maintenancePage: string | null;
  /** App feature `http-session-affinity`. */
  affinity: boolean;
  /** False by app feature `http-disable-keepalive-to-dyno`. */
  keepAlive: boolean;
}

/** A certificate in the routes feed; its key is `certificate:<id>`. `hosts` may begin with `*.`; the first one given to a worker is the default. */
export interface CertificateRoute {
  kind: "certificate";
  id: string;
  hosts: string[];
  /** PEM chain, leaf first. */
  certificate: string;
  /** PEM key; never written to disk in clear by the edge. */
  key: string;
  /** True for the one used when no other fits. */
  fallback: boolean;
}

export type Route = AppRoute | CertificateRoute;

/** Edge to control, once after FEED_HELLO: which worker this is. */
export const EDGE_HELLO = FIRST_OWN_KIND;
export interface EdgeHello {
  worker: number;
}
/** Edge to control: the last request to these removed dynos has ended in this worker. */
export const EDGE_DRAINED = FIRST_OWN_KIND + 1;
export interface EdgeDrained {
  dynos: string[];
}
/** Edge to control: a request waits for this idle app; sent once, not per request. */
export const EDGE_WAKE = FIRST_OWN_KIND + 2;
export interface EdgeWake {
  app: string;
}
