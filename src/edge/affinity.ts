import type { App } from "./app.ts";
import type { Dyno } from "./dyno.ts";

const NAME = "heroku-session-affinity";
const DAY = 86_400;

/** The dyno that the client's affinity cookie names, when it may be chosen. */
export function affineDyno(app: App, cookie: string, now: number): Dyno | null {
  const at = cookie.indexOf(`${NAME}=`);
  if (at < 0) return null;
  const from = at + NAME.length + 1;
  const semicolon = cookie.indexOf(";", from);
  const value = semicolon < 0 ? cookie.slice(from) : cookie.slice(from, semicolon);
  const dyno = app.dynos.find((candidate) => opaque(candidate) === value);
  return dyno && dyno.quarantinedUntil <= now ? dyno : null;
}

/** Heroku's cookie for `dyno`, as a header line of the answer. */
export function affinityCookie(dyno: Dyno, host: string): string {
  const expires = new Date(Date.now() + DAY * 1000).toUTCString();
  const domain = host.replace(/:\d*$/, "");
  return `\r\nSet-Cookie: ${NAME}=${opaque(dyno)}; Version=1; Expires=${expires}; Max-Age=${DAY}; Domain=${domain}; Path=/; HttpOnly`;
}

const opaque = (dyno: Dyno): string => Buffer.from(dyno.id).toString("base64url");
