import net from "node:net";
import type { Config } from "../config/environment.ts";
import { StartError } from "./start-error.ts";

/** One TCP port that Sluice listens on, by the variable that sets it. */
export interface PortSetting {
  variable: string;
  hostVariable: string | null;
  host: string;
  port: number;
}

/** The logplex's syslog port is for this machine only. */
const LOOPBACK = "127.0.0.1";

export const portSettings = (config: Config): PortSetting[] => [
  {
    variable: "SLUICE_EDGE_PORT",
    hostVariable: "SLUICE_EDGE_HOST",
    host: config.edge.host,
    port: config.edge.port,
  },
  {
    variable: "SLUICE_EDGE_TLS_PORT",
    hostVariable: "SLUICE_EDGE_HOST",
    host: config.edge.host,
    port: config.edge.tlsPort,
  },
  {
    variable: "SLUICE_API_PORT",
    hostVariable: "SLUICE_API_HOST",
    host: config.api.host,
    port: config.api.port,
  },
  {
    variable: "SLUICE_API_TLS_PORT",
    hostVariable: "SLUICE_API_HOST",
    host: config.api.host,
    port: config.api.tlsPort,
  },
  {
    variable: "SLUICE_RENDEZVOUS_PORT",
    hostVariable: "SLUICE_API_HOST",
    host: config.api.host,
    port: config.rendezvousPort,
  },
  { variable: "SLUICE_LOGPLEX_PORT", hostVariable: null, host: LOOPBACK, port: config.logplex.syslogPort },
  {
    variable: "SLUICE_LOGPLEX_HTTP_PORT",
    hostVariable: "SLUICE_LOGPLEX_HOST",
    host: config.logplex.host,
    port: config.logplex.httpPort,
  },
];

/**
 * Free ports are taken below the kernel's range for outgoing connections (from 32768), so that none of those
 * sits on one between this look and the part's own bind, or while a part is started anew.
 */
const FREE_FROM = 20_000;
const FREE_TO = 32_000;
const FREE_TRIES = 200;

/**
 * Binds every port once, alone (the edge's library listens with SO_REUSEPORT, so a second Sluice would share
 * a port without a word), lets all go, and returns the real number of each by its variable.
 * @throws StartError naming the variable of the first port that cannot be had.
 */
export async function resolvePorts(settings: PortSetting[]): Promise<Record<string, number>> {
  const servers: net.Server[] = [];
  try {
    const ports: Record<string, number> = {};
    for (const setting of settings) {
      const { server, port } = await (setting.port === 0 ? bindFree(setting) : bindNamed(setting));
      servers.push(server);
      ports[setting.variable] = port;
    }
    return ports;
  } finally {
    await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  }
}

async function bindNamed({
  variable,
  hostVariable,
  host,
  port,
}: PortSetting): Promise<{ server: net.Server; port: number }> {
  try {
    return { server: await bind(host, port), port };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new StartError(
        `Port ${port} on ${host} is already taken: end the program that uses it, or set ${variable} to another port (0 takes a free one).`,
      );
    }
    if (code === "EACCES") {
      throw new StartError(
        `Port ${port} needs root: set ${variable} to a port from 1024 on, or start Sluice as root.`,
      );
    }
    throw noSuchAddress(hostVariable ?? variable, host, message);
  }
}

async function bindFree({
  variable,
  hostVariable,
  host,
}: PortSetting): Promise<{ server: net.Server; port: number }> {
  for (let tries = 0; tries < FREE_TRIES; tries++) {
    const port = FREE_FROM + Math.floor(Math.random() * (FREE_TO - FREE_FROM));
    try {
      return { server: await bind(host, port), port };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "EADDRINUSE") throw noSuchAddress(hostVariable ?? variable, host, message);
    }
  }
  throw new StartError(`No free port was found for ${variable}: set it to one that is free.`);
}

const noSuchAddress = (variable: string, host: string, message: string): StartError =>
  new StartError(
    `This machine cannot listen on ${host} (${message}): set ${variable} to an address of its own.`,
  );

function bind(host: string, port: number): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.destroy());
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}
