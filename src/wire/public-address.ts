import { lookup as dnsLookup } from "node:dns";
import net from "node:net";

/*
 * The rule for addresses that users give (design section 9): what a name resolves to is looked at when the
 * connection is made, so a name that changes its answer in between gains nothing.
 */

/** IPv4 ranges that are not the public internet (RFC 6890 and kin), metadata services among them. */
const CLOSED_V4 = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const;
/** Of IPv6 only global unicast is public, but for these parts of it that carry an IPv4 address or go nowhere. */
const OPEN_V6 = ["2000::", 3] as const;
const CLOSED_V6 = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const;

const closed = new net.BlockList();
for (const [address, prefix] of CLOSED_V4) closed.addSubnet(address, prefix, "ipv4");
for (const [address, prefix] of CLOSED_V6) closed.addSubnet(address, prefix, "ipv6");
const open = new net.BlockList();
open.addSubnet(...OPEN_V6, "ipv6");
const mapped = new net.BlockList();
mapped.addSubnet("::ffff:0:0", 96, "ipv6");
mapped.addSubnet("64:ff9b::", 96, "ipv6");

/** True for an address of the public internet; false for loopback, private, link-local, metadata and the like. */
export function isPublic(address: string): boolean {
  if (net.isIPv4(address)) return !closed.check(address, "ipv4");
  if (!net.isIPv6(address)) return false;
  // BlockList takes an IPv4 address mapped into IPv6 for the IPv4 one; those and NAT64 are judged closed.
  if (mapped.check(address, "ipv6")) return false;
  return open.check(address, "ipv6") && !closed.check(address, "ipv6");
}

/** A connection was refused because its address is private. */
export class PrivateAddressError extends Error {
  override name = "PrivateAddressError";
  readonly code = "PRIVATE_ADDRESS";
}

const refuse = (host: string, address: string): PrivateAddressError =>
  new PrivateAddressError(
    `${host} is ${address === host ? "a private address" : `at ${address}, a private address`}.`,
  );

/**
 * Options for `net.connect` and `tls.connect` that refuse private addresses after resolution.
 * @throws PrivateAddressError at once when `host` is such an address itself (`net` asks no look-up then).
 */
export function publicOnly(host: string): { lookup: net.LookupFunction } {
  if (net.isIP(host) !== 0 && !isPublic(host)) throw refuse(host, host);
  return {
    lookup: (name, options, callback) => {
      dnsLookup(name, { ...options, all: true }, (error, addresses) => {
        if (error) {
          callback(error, "", 4);
          return;
        }
        const open = addresses.filter(({ address }) => isPublic(address));
        if (open.length === 0) callback(refuse(name, addresses[0]?.address ?? "nowhere"), "", 4);
        else if (options.all) callback(null, open);
        else callback(null, open[0]!.address, open[0]!.family);
      });
    },
  };
}
