import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import path from "node:path";

/** Where things lie on this machine, made from the home alone so that every part finds them by itself. */
export interface Layout {
  home: string;
  /** Folder of the parts' Unix sockets; never under the home: Node cuts socket paths at 108 bytes silently. */
  sockets: string;
  /** Twelve hex digits of the home's real path: names cgroups, bridges and sockets of this Sluice. */
  mark: string;
  /** One 0700 folder an owner. */
  control: string;
  pg: string;
  slugs: string;
  edge: string;
  logplex: string;
  host: string;
  apiKeyFile: string;
  caFile: string;
}

/** The layout for the home at `home`, which must exist. */
export function layoutOf(home: string, env: NodeJS.ProcessEnv = process.env): Layout {
  const real = realpathSync(home);
  const mark = createHash("sha256").update(real).digest("hex").slice(0, 12);
  const uid = process.getuid?.() ?? 0;
  // A part that has dropped root's rights must still find the folder that root made: SLUICE_SOCKETS tells it.
  const sockets =
    env.SLUICE_SOCKETS ??
    (uid === 0
      ? `/run/sluice/${mark}`
      : env.XDG_RUNTIME_DIR
        ? path.join(env.XDG_RUNTIME_DIR, `sluice-${mark}`)
        : `/tmp/sluice-${uid}-${mark}`);
  const under = (name: string): string => path.join(real, name);
  return {
    home: real,
    sockets,
    mark,
    control: under("control"),
    pg: under("pg"),
    slugs: under("slugs"),
    edge: under("edge"),
    logplex: under("logplex"),
    host: under("host"),
    apiKeyFile: under("api-key"),
    caFile: under("ca.pem"),
  };
}

/** The links between the parts, each named `<listener>-<peer>`: only that peer's user can connect. */
export type Socket =
  | "control-edge"
  | "control-host"
  | "control-logplex"
  | "logplex-edge"
  | "logplex-host"
  | "logplex-control";

const SOCKET_FILES: Record<Socket, string> = {
  "control-edge": "edge.sock",
  "control-host": "host.sock",
  "control-logplex": "logplex.sock",
  "logplex-edge": "logplex-edge.sock",
  "logplex-host": "logplex-host.sock",
  "logplex-control": "logplex-control.sock",
};

/** Path of the Unix socket of one link. */
export const socketPath = (layout: Layout, socket: Socket): string =>
  path.join(layout.sockets, SOCKET_FILES[socket]);
