import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";
import type { Logger } from "pino";
import type { Config } from "../../config/environment.ts";
import type { Authority } from "./authority.ts";

/** How often the certificate is looked at; it is made anew 30 days before it ends. */
const LOOK_MS = 12 * 3_600_000;

export interface Pem {
  key: string;
  cert: string;
}

/** The names that control's own ports are called by: loopback, the address they listen on, the operator's. */
export function apiNames(config: Config): string[] {
  const { host, names } = config.api;
  const listens = net.isIP(host) && host !== "0.0.0.0" && host !== "::" ? [host] : [];
  return [...new Set(["localhost", "127.0.0.1", "::1", ...listens, ...names])];
}

/**
 * The operator's own certificate for control's TLS ports, or null. Call it before privilege is dropped: the key
 * may be root's.
 * @throws Error when the files cannot be read or do not fit each other.
 */
export function readOperatorPem(config: Config): Pem | null {
  const { tlsFiles } = config.api;
  if (!tlsFiles) return null;
  try {
    const pem = { cert: readFileSync(tlsFiles.certificate, "utf8"), key: readFileSync(tlsFiles.key, "utf8") };
    tls.createSecureContext(pem);
    return pem;
  } catch (error) {
    throw new Error(
      `SLUICE_API_TLS_CERT and SLUICE_API_TLS_KEY cannot be used: ${(error as Error).message}. Give a PEM chain, leaf first, and its key.`,
    );
  }
}

/** The certificate of control's TLS ports, by the private CA; `renewed` is told of each later one. */
export async function keepApiCertificate(
  authority: Authority,
  config: Config,
  log: Logger,
  renewed: (pem: Pem) => void,
): Promise<{ pem: Pem; close(): void }> {
  const certify = async (): Promise<Pem> => {
    const { certificate, key } = await authority.certify("api", apiNames(config));
    return { cert: certificate, key };
  };
  let pem = await certify();
  const timer = setInterval(() => {
    certify().then(
      (next) => {
        if (next.cert === pem.cert) return;
        pem = next;
        renewed(next);
      },
      (error) => log.warn({ err: error }, "the API's certificate could not be looked at; tried again later"),
    );
  }, LOOK_MS);
  timer.unref();
  return { pem, close: () => clearInterval(timer) };
}
