import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, readFileSync, readSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { Box } from "../../src/host/box/box.ts";
import { Boxes } from "../../src/host/box/boxes.ts";
import type { BoxSpec } from "../../src/host/box/spec.ts";
import { type Home, makeHome, needsRoot } from "./peers.ts";

const MIB = 1024 * 1024;

describe("the walls of a box", needsRoot, () => {
  let home: Home;
  let boxes: Boxes;
  let allowed: net.Server;
  let serial = 0;

  const spec = (command: string, more: Partial<BoxSpec> = {}): BoxSpec => ({
    id: `b${++serial}`,
    uid: 200_001,
    gid: 200_001,
    lower: null,
    mounts: [],
    env: { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/app" },
    cwd: "/app",
    argv: ["bash", "-c", command],
    stdio: "fifo",
    limits: { memoryBytes: 64 * MIB, processes: 40, cpuShares: 1 },
    network: "own",
    hostname: "box",
    ...more,
  });
  const outputOf = (box: Box): string => {
    const buffer = Buffer.alloc(64 * 1024);
    return box
      .outputs()
      .map((fd) => {
        try {
          return buffer.toString("utf8", 0, readSync(fd, buffer));
        } catch {
          return "";
        }
      })
      .join("");
  };
  /** Runs a command in a box to its end; its output and status. */
  const run = async (
    command: string,
    more: Partial<BoxSpec> = {},
  ): Promise<{ text: string; status: number }> => {
    const box = await boxes.start(spec(command, more));
    const { status, fault } = await box.exited;
    assert.equal(fault, null);
    const text = outputOf(box);
    await box.free();
    return { text, status };
  };

  before(async () => {
    allowed = net.createServer((socket) => socket.end("allowed"));
    await new Promise<void>((resolve) => allowed.listen(0, "0.0.0.0", resolve));
    const { port } = allowed.address() as net.AddressInfo;
    home = makeHome({ SLUICE_DYNO_ALLOW: String(port) });
    ({ boxes } = await Boxes.open(home.config, home.layout));
    assert.deepEqual(boxes.notes, []);
  });
  after(async () => {
    await boxes.close();
    allowed.close();
    home.remove();
  });

  test("nothing of the platform is seen: files, sockets, environment, processes, descriptors", async () => {
    process.env.PLATFORM_SECRET = "not-for-boxes";
    const checkout = process.cwd();
    const { text } = await run(
      `ls -A / /run /root /home 2>&1; env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n' 2>&1; cat /proc/1/environ; ls -l /proc/1/root /proc/1/cwd /proc/1/fd; cat /proc/self/mountinfo /proc/self/cgroup; ls /proc/self/fd; find / -xdev -type s`,
    );
    delete process.env.PLATFORM_SECRET;
    assert.ok(!text.includes("not-for-boxes"));
    assert.ok(!text.includes(path.basename(home.folder)), text);
    assert.ok(!text.includes(home.layout.mark), text);
    const { text: folders } = await run(`ls -A ${home.folder} ${checkout} /run/sluice /sys/fs/cgroup 2>&1`);
    assert.equal(folders.match(/cannot access/g)?.length, 4, folders);
    assert.ok(!text.includes("host.sock") && !text.includes(".sock"));
    assert.match(
      text,
      /cannot access '\/proc\/1\/cwd'|cannot read symbolic link '\/proc\/1\/cwd'|\/proc\/1\/cwd: Permission denied/,
    );
    assert.match(text, /\n0\n1\n2\n3\n/, "only the standard descriptors (and ls's own)");
    const { text: processes } = await run("ls -d /proc/[0-9]* | wc -l");
    assert.ok(Number(processes) <= 5, processes);
  });

  test("another app's files and processes are out of reach", async () => {
    const lower = path.join(home.layout.host, "other");
    mkdirSync(path.join(lower, "app"), { recursive: true });
    writeFileSync(path.join(lower, "app/secret"), "other-secret", { mode: 0o644 });
    const other = await boxes.start(spec("exec sleep 1000", { uid: 200_002, gid: 200_002, lower }));
    const { text } = await run(
      "ls -A /app; cat /app/secret; ps -e -o args; find / -name secret 2>/dev/null; kill -9 -1; echo still",
    );
    assert.ok(!text.includes("other-secret") && !text.includes("sleep 1000"), text);
    assert.ok(other.pids().length > 0, "a box cannot end another's processes");
    await other.kill();
    await other.free();
    assert.equal(readFileSync(path.join(lower, "app/secret"), "utf8"), "other-secret");
  });

  test("writes go to the box's own layer, gone with it; the slug below is untouched", async () => {
    const lower = path.join(home.layout.host, "slug");
    mkdirSync(path.join(lower, "app"), { recursive: true });
    writeFileSync(path.join(lower, "app/a"), "a");
    chownSync(path.join(lower, "app/a"), 200_001, 200_001);
    const { text } = await run("echo changed >/app/a; echo new >/app/b; cat /app/a /app/b", { lower });
    assert.equal(text, "changed\nnew\n");
    assert.equal(readFileSync(path.join(lower, "app/a"), "utf8"), "a");
    assert.ok(!existsSync(path.join(lower, "app/b")));
    const { text: fresh } = await run("ls /app; cat /app/a", { lower });
    assert.equal(fresh, "a\na");
    const { text: rest } = await run(
      "touch /usr/x /etc/x /bin/x /x 2>&1; touch /tmp/x /dev/shm/x && echo ok",
    );
    assert.equal(rest.match(/Permission denied|Read-only/g)?.length, 4, rest);
    assert.match(rest, /ok/);
  });

  test("no rights can be gained", async () => {
    const { text } = await run(
      "grep -E 'Cap|NoNew' /proc/self/status; mount -t tmpfs none /tmp 2>&1; su -c id 2>&1 </dev/null; mknod /tmp/d b 8 0 2>&1; chroot / id 2>&1; hostname evil 2>&1; ip link set eth0 down 2>&1; echo 1 >/proc/sys/kernel/sysrq; id",
    );
    assert.match(text, /CapEff:\t0000000000000000/);
    assert.match(text, /CapBnd:\t0000000000000000/);
    assert.match(text, /NoNewPrivs:\t1/);
    assert.ok(!text.includes("uid=0"), text);
    assert.match(text, /uid=200001/);
  });

  test("box to box and box to machine are refused, but for DNS and the allowed ports; loopback is the box's own", async () => {
    const refused = net.createServer((socket) => socket.end("refused"));
    await new Promise<void>((resolve) => refused.listen(0, "0.0.0.0", resolve));
    const closed = (refused.address() as net.AddressInfo).port;
    const open = (allowed.address() as net.AddressInfo).port;
    const serve = `exec node -e 'require("net").createServer((s) => s.end("other")).listen(4000)'`;
    const other = await boxes.start(spec(serve));
    const reached = (): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = net.connect(4000, other.address as string);
        socket.on("data", () => resolve(true));
        socket.on("error", () => resolve(false));
      });
    while (!(await reached())) await new Promise((resolve) => setImmediate(resolve));
    const ask = (host: string, port: number): string =>
      `timeout 2 bash -c 'cat </dev/tcp/${host}/${port}' 2>/dev/null || echo no`;
    const machine = boxes.network?.gateway as string;
    const outside = Object.values(await import("node:os").then((os) => os.networkInterfaces()))
      .flat()
      .find((entry) => entry?.family === "IPv4" && !entry.internal && entry.address !== machine)?.address;
    const { text } = await run(
      [
        ask(other.address as string, 4000),
        ask(machine, closed),
        ask(outside ?? machine, closed),
        ask("127.0.0.1", closed),
        ask("machine.sluice", open),
      ].join("; echo; "),
    );
    assert.deepEqual(text.split(/\n+/), ["no", "no", "no", "no", "allowed"], text);
    await other.kill();
    await other.free();
    refused.close();
  });

  test("a fork bomb meets the limit of processes, and all of it ends with the box", async () => {
    const box = await boxes.start(spec("for i in $(seq 200); do sleep 1000 & done; echo made; wait"));
    while (!/made|fork|Resource/.test(outputOf(box))) await new Promise((resolve) => setTimeout(resolve, 10));
    const count = box.pids().length;
    assert.ok(count > 5 && count <= 40, String(count));
    await box.kill();
    assert.equal(box.pids().length, 0);
    await box.free();
    assert.ok(!existsSync(`/sys/fs/cgroup/pids/sluice-${home.layout.mark}/${box.id}`));
  });

  test("a hog is ended by the kernel at twice its size; daemons end with the command", async () => {
    const { status } = await run("node -e 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1))'");
    assert.equal(status, 137);
    const box = await boxes.start(spec("setsid -f sleep 1000; (sleep 1000 &); exit 3"));
    assert.equal((await box.exited).status, 3);
    await box.free();
    assert.deepEqual(box.pids(), []);
  });

  test("a box that cannot be set up says why", async () => {
    await assert.rejects(
      boxes.start(spec("true", { lower: path.join(home.folder, "nowhere") })),
      /There is no folder/,
    );
    await assert.rejects(boxes.start(spec("true", { id: "../x" })), /cannot be named/);
    const { status, text } = await run("no-such-command");
    assert.equal(status, 127);
    assert.match(text, /no-such-command: command not found/);
  });
});
