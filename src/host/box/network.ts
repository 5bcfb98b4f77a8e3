import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { promisify } from "node:util";
import { makeChain, removeChain } from "./firewall.ts";
import { loopbackResolver } from "./resolver.ts";
import { inTurn } from "./turn.ts";

const exec = promisify(execFile);
const ip = async (...args: string[]): Promise<string> => (await exec("ip", args)).stdout;

/** Namespaces made ahead: a connect to a dyno whose veth is not up yet costs a full second of ARP. */
const POOL_SIZE = Number(process.env.SLUICE_NETWORK_POOL) || 4;
/** A namespace that was taken is made up for after this. */
const REFILL_MS = 200;
/** Each Sluice takes a slice of the net of this prefix length (1021 boxes), so that several fit one machine. */
const SLICE_PREFIX = 22;
/** Where `ip netns` keeps its namespaces. */
const NETNS_FOLDER = "/run/netns";

/** A network namespace of one dyno, kept over its restarts. */
export interface Slot {
  /** Name under /run/netns. */
  namespace: string;
  /** IPv4 address by which the machine reaches the box. */
  address: string;
}

const toNumber = (address: string): number =>
  address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const toAddress = (number: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");

interface Interface {
  ifname: string;
  addr_info?: { family: string; local: string; prefixlen: number }[];
}

/** Runs one batch of ip commands; with `namespace`, in that one. */
function batch(lines: string[], namespace?: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const args = namespace ? ["-n", namespace, "-batch", "-"] : ["-batch", "-"];
    const child = execFile("ip", args, (error, _out, stderr) =>
      error ? reject(new Error(stderr.trim() || error.message)) : resolve(),
    );
    child.stdin?.end(`${lines.join("\n")}\n`);
  });
}

/**
 * The boxes' own network: one bridge, a namespace with a veth a box, NAT to the outside, and one iptables chain.
 * Boxes reach neither each other (the bridge's ports are isolated) nor the machine but for DNS and `allow`.
 */
export class Network {
  readonly bridge: string;
  /** The bridge's address: `machine.sluice`. */
  gateway = "";
  /** The machine's resolver, where it is on loopback alone: boxes ask the bridge's address in its place. */
  readonly resolver = loopbackResolver();
  #chain: string;
  #prefix: string;
  #base = 0;
  #prefixLength = SLICE_PREFIX;
  #taken = new Set<number>();
  #next = 2;
  #pool: Slot[] = [];
  #making = 0;
  #waiting: { resolve: (slot: Slot) => void; reject: (error: Error) => void }[] = [];
  #closed = false;
  #removals = new Set<Promise<void>>();

  private constructor(mark: string) {
    const short = mark.slice(0, 8);
    this.bridge = `sluice${short}`;
    this.#chain = `SLUICE-${short}`;
    this.#prefix = `sluice-${mark}-`;
  }

  /**
   * Makes the bridge and the chain; namespaces in `keep` (of dynos that run) stay, others of this mark go.
   * @throws Error in words when this machine refuses it.
   */
  static async open(mark: string, dynoNet: string, allow: number[], keep: Slot[]): Promise<Network> {
    const network = new Network(mark);
    const [address = "", length = ""] = dynoNet.split("/");
    const prefixLength = Number(length);
    if (!net.isIPv4(address) || !Number.isInteger(prefixLength) || prefixLength < 8 || prefixLength > 28) {
      throw new Error(`SLUICE_DYNO_NET is "${dynoNet}"; it must be an IPv4 net like 10.208.0.0/16`);
    }
    // Two that start at once would else take the same slice.
    await inTurn("sluice-network", () =>
      network.#makeBridge(mark, toNumber(address), prefixLength, keep[0] ?? null),
    );
    await makeChain({
      chain: network.#chain,
      bridge: network.bridge,
      net: network.#net,
      gateway: network.gateway,
      allow,
      resolver: network.resolver,
    });
    for (const slot of keep) network.#taken.add(toNumber(slot.address) - network.#base);
    await network.#removeStrays(new Set(keep.map((slot) => slot.namespace)));
    network.#fill();
    return network;
  }

  async #makeBridge(mark: string, net: number, length: number, kept: Slot | null): Promise<void> {
    const slice = Math.max(length, SLICE_PREFIX);
    const size = 2 ** (32 - slice);
    const count = 2 ** (slice - length);
    const start = net - (net % 2 ** (32 - length));
    this.#prefixLength = slice;
    const interfaces = JSON.parse(await ip("-j", "addr")) as Interface[];
    const there = interfaces.find((entry) => entry.ifname === this.bridge);
    const own = there?.addr_info?.find((info) => info.family === "inet" && info.prefixlen === slice);
    const used = (base: number): boolean =>
      interfaces.some(
        (entry) =>
          entry.ifname !== this.bridge &&
          entry.addr_info?.some((info) => {
            if (info.family !== "inet") return false;
            const block = 2 ** (32 - Math.max(8, Math.min(slice, info.prefixlen)));
            const local = toNumber(info.local);
            return Math.floor(local / block) === Math.floor(base / block);
          }),
      );
    const floor = (address: string): number => toNumber(address) - (toNumber(address) % size);
    if (own) this.#base = floor(own.local);
    else if (kept) this.#base = floor(kept.address);
    else {
      const first = createHash("sha256").update(mark).digest().readUInt32BE(0) % count;
      // The default's first slice goes to whoever comes first; marks spread the others.
      const order = [0, ...Array.from({ length: count }, (_, index) => (first + index) % count)];
      const free = order.find((index) => !used(start + index * size));
      if (free === undefined) throw new Error("every slice of SLUICE_DYNO_NET is in use on this machine");
      this.#base = start + free * size;
    }
    this.gateway = toAddress(this.#base + 1);
    if (!there)
      await ip("link", "add", this.bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0");
    if (!own) await ip("addr", "add", `${this.gateway}/${slice}`, "dev", this.bridge);
    const set = (key: string, value: string): void => {
      try {
        writeFileSync(`/proc/sys/net/${key}`, value);
      } catch {
        // A kernel without it (no IPv6) needs it not.
      }
    };
    // The chain below speaks IPv4: no box shall reach the machine by a link-local IPv6 address.
    set(`ipv6/conf/${this.bridge}/disable_ipv6`, "1");
    if (this.resolver) set(`ipv4/conf/${this.bridge}/route_localnet`, "1");
    await ip("link", "set", this.bridge, "up");
    if (readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim() !== "1") {
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
    }
  }

  get #net(): string {
    return `${toAddress(this.#base)}/${this.#prefixLength}`;
  }

  async #removeStrays(keep: Set<string>): Promise<void> {
    let names: string[] = [];
    try {
      names = readdirSync(NETNS_FOLDER).filter((name) => name.startsWith(this.#prefix) && !keep.has(name));
    } catch {
      // No namespace was ever made on this machine.
    }
    // With the namespace goes its end of the veth, and with that the machine's.
    if (names.length) await batch(names.map((name) => `netns del ${name}`));
  }

  #fill(): void {
    while (!this.#closed && this.#pool.length + this.#making < POOL_SIZE + this.#waiting.length) {
      this.#making += 1;
      this.#make().then(
        (slot) => {
          this.#making -= 1;
          const waiter = this.#waiting.shift();
          if (waiter) waiter.resolve(slot);
          else this.#pool.push(slot);
        },
        (error: Error) => {
          this.#making -= 1;
          this.#waiting.shift()?.reject(error);
        },
      );
    }
  }

  async #make(): Promise<Slot> {
    const size = 2 ** (32 - this.#prefixLength);
    if (this.#taken.size >= size - 4) throw new Error(`SLUICE_DYNO_NET has no address left for another box`);
    while (this.#taken.has(this.#next) || this.#next >= size - 1) {
      this.#next = this.#next >= size - 1 ? 2 : this.#next + 1;
    }
    const index = this.#next;
    this.#taken.add(index);
    this.#next += 1;
    const namespace = `${this.#prefix}${index}`;
    const address = toAddress(this.#base + index);
    const veth = `${this.bridge.slice(6)}v${index}`;
    try {
      await batch([
        `netns add ${namespace}`,
        `link add ${veth} type veth peer name eth0 netns ${namespace}`,
        `link set ${veth} master ${this.bridge}`,
        `link set ${veth} type bridge_slave isolated on`,
        `link set ${veth} up`,
      ]);
      await batch(
        [
          "link set lo up",
          "link set eth0 addrgenmode none",
          `addr add ${address}/${this.#prefixLength} dev eth0`,
          "link set eth0 up",
          `route add default via ${this.gateway}`,
        ],
        namespace,
      );
    } catch (error) {
      await ip("netns", "del", namespace).catch(() => {});
      this.#taken.delete(index);
      throw error;
    }
    return { namespace, address };
  }

  /** A namespace for a box; from the pool, or made now when it is empty. */
  take(): Promise<Slot> {
    const slot = this.#pool.shift();
    if (slot) {
      // Not while the box that takes this one starts: that would wait for the processor and the kernel's lock.
      setTimeout(() => this.#fill(), REFILL_MS).unref();
      return Promise.resolve(slot);
    }
    const taken = new Promise<Slot>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#fill();
    return taken;
  }

  /** Path of the namespace's file. */
  file(slot: Slot): string {
    return `${NETNS_FOLDER}/${slot.namespace}`;
  }

  /** Gives a namespace up; it is removed, never used again: what a box left in it goes with it. */
  give(slot: Slot): void {
    const removal = ip("netns", "del", slot.namespace).then(
      () => void this.#taken.delete(toNumber(slot.address) - this.#base),
      () => {},
    );
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
  }

  /** Removes all of it: namespaces, bridge, chain. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#making) await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all(this.#removals);
    await this.#removeStrays(new Set()).catch(() => {});
    await ip("link", "del", this.bridge).catch(() => {});
    await removeChain(this.#chain).catch(() => {});
  }
}
