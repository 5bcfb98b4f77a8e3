import { readFileSync } from "node:fs";

const read = (file: string): string[] => {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch {
    return [];
  }
};

const LOOPBACK = /^\s*nameserver\s+(127\.[\d.]+)/;
/** Lines of a resolv.conf that hold in a network of a box's own too. */
const usable = (file: string): string[] =>
  read(file).filter((line) => /^\s*(nameserver\s+(?!127\.|::1)|search|domain|options)/.test(line));
const names = (lines: string[]): boolean => lines.some((line) => line.includes("nameserver"));

/** Name servers that a box can reach: of a resolver on the machine's loopback, those behind it, where they are known. */
export function resolvConf(): string {
  const own = usable("/etc/resolv.conf");
  const behind = usable("/run/systemd/resolve/resolv.conf");
  return `${(names(own) || !names(behind) ? own : behind).join("\n")}\n`;
}

/** IPv4 address of the machine's resolver, when it is on loopback and what is behind it is not known; else null. */
export function loopbackResolver(): string | null {
  if (names(usable("/etc/resolv.conf")) || names(usable("/run/systemd/resolve/resolv.conf"))) return null;
  for (const line of read("/etc/resolv.conf")) {
    const address = LOOPBACK.exec(line)?.[1];
    if (address) return address;
  }
  return null;
}
