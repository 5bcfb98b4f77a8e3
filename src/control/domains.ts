import { domainToASCII } from "node:url";
import { invalidParams } from "./errors.ts";
import { isDuplicate } from "./store/postgres.ts";
import type { Queryable } from "./store/store.ts";

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** The host name that an app has by itself. */
export const ownHostname = (appName: string, appDomain: string): string => `${appName}.${appDomain}`;

/**
 * A custom domain as it is kept: lower case, punycode, without the dot at the end; `*.` may begin it.
 * @throws ApiError 422 when it is no host name, or lies below the app domain, where names are apps'.
 */
export function readHostname(text: string, appDomain: string): string {
  const given = text.trim().replace(/\.$/, "");
  const wildcard = given.startsWith("*.");
  const name = wildcard ? given.slice(2) : given;
  // domainToASCII reads a host out of a URL's rest, so what only a URL can hold is refused first.
  const ascii = /[\s/\\?#@:%*]/.test(name) ? "" : domainToASCII(name);
  const labels = ascii.split(".");
  const hostname = wildcard ? `*.${ascii}` : ascii;
  if (
    labels.length < 2 ||
    hostname.length > 253 ||
    !labels.every((label) => LABEL.test(label)) ||
    /^\d+$/.test(labels.at(-1)!)
  ) {
    throw invalidParams(`"${text}" is not a host name; write one like www.example.com or *.example.com.`);
  }
  if (ascii === appDomain || ascii.endsWith(`.${appDomain}`)) {
    throw invalidParams(
      `${hostname} lies below ${appDomain}, where every app has its own name already; choose a domain elsewhere.`,
    );
  }
  return hostname;
}

/**
 * Gives every app its own host name below `appDomain`, which the operator may have changed since the last start.
 * @throws Error when one of the new names is another app's custom domain.
 */
export async function renewOwnHostnames(store: Queryable, appDomain: string): Promise<void> {
  try {
    await store.query(
      `UPDATE domains SET hostname = apps.name || '.' || $1::text, updated_at = now() FROM apps
       WHERE apps.id = domains.app_id AND kind = 'heroku' AND hostname <> apps.name || '.' || $1::text`,
      [appDomain],
    );
  } catch (error) {
    if (!isDuplicate(error, "domains_hostname_key")) throw error;
    throw new Error(
      `SLUICE_APP_DOMAIN cannot be ${appDomain}: one app's name below it is a custom domain of another; remove that domain first.`,
    );
  }
}
