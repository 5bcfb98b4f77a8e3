import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import net from "node:net";
import * as x509 from "@peculiar/x509";

/** A certificate and its key, as PEM. */
export interface Certified {
  certificate: string;
  key: string;
  expires: Date;
}

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
/** Clocks of clients may be behind ours. */
const BACKDATE_MS = 3_600_000;

const pemKey = async (key: webcrypto.CryptoKey): Promise<string> =>
  `${x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;

/** RFC 5280, 4.1.2.2: a positive number of at most 20 octets. */
const serial = (): string => `4${randomBytes(16).toString("hex").slice(1)}`;

const validity = (days: number): { notBefore: Date; notAfter: Date } => {
  const now = Date.now();
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + days * DAY_MS) };
};

/** A new certificate authority that signs leaves only. */
export async function makeAuthority(name: string, days: number): Promise<Certified> {
  const keys = await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${name}, O=Sluice`,
      ...validity(days),
      signingAlgorithm: EC,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return {
    certificate: `${certificate.toString("pem")}\n`,
    key: await pemKey(keys.privateKey),
    expires: certificate.notAfter,
  };
}

/** A server certificate for `hosts` (DNS names, which may begin with `*.`, and addresses), signed by `authority`. */
export async function issueLeaf(authority: Certified, hosts: string[], days: number): Promise<Certified> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const der = x509.PemConverter.decodeFirst(authority.key);
  const signingKey = await webcrypto.subtle.importKey("pkcs8", der, EC, false, ["sign"]);
  const keys = await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(),
      // RFC 5280 bounds a common name at 64 characters; clients read the alternative names.
      subject: `CN=${hosts[0]!.slice(0, 64)}`,
      issuer: issuer.subject,
      ...validity(days),
      signingAlgorithm: EC,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          hosts.map((value) => ({ type: net.isIP(value) ? "ip" : "dns", value })),
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return {
    certificate: `${certificate.toString("pem")}\n`,
    key: await pemKey(keys.privateKey),
    expires: certificate.notAfter,
  };
}
