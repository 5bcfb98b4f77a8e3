import { execFile } from "node:child_process";
import { promisify } from "node:util";

const exec = promisify(execFile);

export interface ChainRules {
  /** Name of the chain, in the tables filter and nat. */
  chain: string;
  bridge: string;
  /** The boxes' addresses, `a.b.c.d/n`. */
  net: string;
  /** The bridge's address. */
  gateway: string;
  /** TCP ports of the machine that boxes may reach. */
  allow: number[];
  /** Loopback address that DNS sent to the gateway goes to; null: as it comes. */
  resolver: string | null;
}

/** The chain of what is translated before it is routed; a chain cannot serve both ends. */
const entryOf = (chain: string): string => `${chain}-IN`;

/** Applies rules in iptables-restore's form without touching anyone else's. */
function restoreRules(rules: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile("iptables-restore", ["--noflush", "-w"], (error, _out, stderr) =>
      error ? reject(new Error(stderr.trim() || error.message)) : resolve(),
    );
    child.stdin?.end(`${rules.join("\n")}\n`);
  });
}

/** Makes this Sluice's chain, in place of one that an earlier life left. */
export async function makeChain(rules: ChainRules): Promise<void> {
  const { chain, bridge, net, gateway, allow, resolver } = rules;
  await removeChain(chain);
  const local = `-A ${chain} -m addrtype --dst-type LOCAL`;
  const entry = entryOf(chain);
  const dns = resolver
    ? [
        `:${entry} - [0:0]`,
        ...["udp", "tcp"].map(
          (protocol) =>
            `-A ${entry} -d ${gateway} -p ${protocol} --dport 53 -j DNAT --to-destination ${resolver}`,
        ),
        `-A PREROUTING -i ${bridge} -j ${entry}`,
      ]
    : [];
  await restoreRules([
    "*filter",
    `:${chain} - [0:0]`,
    `-A ${chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`,
    // From outside to a box, and from box to box by way of the machine.
    `-A ${chain} -o ${bridge} -j REJECT`,
    `-A ${chain} ! -s ${net} -j DROP`,
    `${local} -p udp --dport 53 -j ACCEPT`,
    `${local} -p tcp --dport 53 -j ACCEPT`,
    ...allow.map((port) => `${local} -p tcp --dport ${port} -j ACCEPT`),
    `${local} -j REJECT --reject-with icmp-port-unreachable`,
    // Link-local: the metadata services of clouds.
    `-A ${chain} -d 169.254.0.0/16 -j REJECT`,
    `-A ${chain} -j ACCEPT`,
    `-I INPUT 1 -i ${bridge} -j ${chain}`,
    `-I FORWARD 1 -i ${bridge} -j ${chain}`,
    `-I FORWARD 1 -o ${bridge} -j ${chain}`,
    "COMMIT",
    "*nat",
    `:${chain} - [0:0]`,
    `-A ${chain} -s ${net} ! -o ${bridge} -j MASQUERADE`,
    `-A POSTROUTING -j ${chain}`,
    ...dns,
    "COMMIT",
  ]);
}

/** Removes the chain and every jump to it. */
export async function removeChain(chain: string): Promise<void> {
  const chains = [chain, entryOf(chain)];
  const { stdout } = await exec("iptables-save", []);
  let table = "";
  const rules: string[] = [];
  // The jumps to a chain first: one that something jumps to cannot be removed.
  const jumps: string[] = [];
  for (const line of stdout.split("\n")) {
    if (line.startsWith("*")) table = line;
    for (const name of chains) {
      if (line.startsWith(`:${name} `)) rules.push(table, `-F ${name}`, `-X ${name}`, "COMMIT");
      else if (line.startsWith("-A ") && line.endsWith(` -j ${name}`))
        jumps.push(table, `-D${line.slice(2)}`, "COMMIT");
    }
  }
  if (jumps.length + rules.length) await restoreRules([...jumps, ...rules]);
}
