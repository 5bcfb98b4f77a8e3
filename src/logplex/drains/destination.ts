/** The schemes that a drain may have. */
export type DrainScheme = "syslog" | "syslog+tls" | "http" | "https";

/** A drain's URL, taken apart. */
export interface Destination {
  scheme: DrainScheme;
  /** Host name or address, without brackets. */
  host: string;
  port: number;
  tls: boolean;
  /** `Host` header: with the port when the URL gives one. */
  hostHeader: string;
  /** Path and query. */
  target: string;
  /** `Basic …`, or null. */
  authorization: string | null;
  /** The URL without credentials, path and query: safe to log. */
  shown: string;
}

const PORTS: Record<DrainScheme, number> = { syslog: 601, "syslog+tls": 6514, http: 80, https: 443 };

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Takes a drain URL apart; null when it is none. */
export function parseDestination(text: string): Destination | null {
  const colon = text.indexOf("://");
  const scheme = text.slice(0, colon).toLowerCase() as DrainScheme;
  if (colon < 0 || PORTS[scheme] === undefined) return null;
  let url: URL;
  try {
    // Schemes that WHATWG does not know get no host of their own: all are read as http.
    url = new URL(`http${text.slice(colon)}`);
  } catch {
    return null;
  }
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  if (host === "") return null;
  // WHATWG drops `:80` as http's own; for the other schemes it has a meaning.
  const given = url.port || (/^[^/?#]*:0*80(?:[/?#]|$)/.test(text.slice(colon + 3)) ? "80" : "");
  const port = given ? Number(given) : PORTS[scheme];
  const credentials = `${decoded(url.username)}:${decoded(url.password)}`;
  return {
    scheme,
    host,
    port,
    tls: scheme === "https" || scheme === "syslog+tls",
    hostHeader: given ? `${url.hostname}:${given}` : url.hostname,
    target: url.pathname + url.search,
    authorization: credentials === ":" ? null : `Basic ${Buffer.from(credentials).toString("base64")}`,
    shown: `${scheme}://${url.hostname}:${port}/`,
  };
}
