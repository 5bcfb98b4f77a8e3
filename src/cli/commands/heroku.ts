import { spawn } from "node:child_process";
import { addCommand, type Noun } from "../command.ts";
import { Failure } from "../failure.ts";
import { shellQuoted } from "../shell.ts";
import type { Target } from "../target.ts";

/** The environment in which the real `heroku` command speaks to this Sluice and to nobody else. */
export function herokuEnv(target: Target): Record<string, string> {
  const tls = new URL(target.tlsUrl);
  return {
    HEROKU_HOST: target.url,
    HEROKU_API_KEY: target.key,
    // Its git is always https, and its helper answers for this host alone.
    HEROKU_GIT_HOST: tls.host,
    HEROKU_BUILDPACK_REGISTRY_URL: target.url,
    HEROKU_DATA_HOST: tls.hostname,
    HEROKU_PARTICLEBOARD_URL: target.url,
    DISABLE_TELEMETRY: "true",
    // `run` checks the certificate of the rendezvous; git has its own setting.
    ...(target.ca ? { NODE_EXTRA_CA_CERTS: target.ca, GIT_SSL_CAINFO: target.ca } : {}),
  };
}

export const heroku: Noun = (program, session) => {
  addCommand(program, "heroku [args...]", {
    group: "Access:",
    summary: "run the real heroku CLI against this Sluice, or print the environment for it",
    more: `The heroku CLI takes only 127.0.0.1 or localhost as a host: for a Sluice elsewhere forward its ports first.
Its run needs the private CA: SLUICE_CA, or \`sluice login --ca\`. Options of heroku stand after its command.`,
    examples: ["sluice heroku ps -a hello", 'eval "$(sluice heroku --env)"'],
  })
    .option("--env", "print the variables as lines for a shell")
    .passThroughOptions()
    .action(async (args: string[], options: { env?: boolean }) => {
      const env = herokuEnv(session.target);
      if (options.env) {
        for (const [name, value] of Object.entries(env))
          session.out.line(`export ${name}=${shellQuoted(value)}`);
        return;
      }
      const child = spawn("heroku", args, { stdio: "inherit", env: { ...session.env, ...env } });
      session.status = await new Promise<number>((resolve, reject) => {
        child.on("error", () =>
          reject(
            new Failure("There is no `heroku` command on PATH; install it with `npm install -g heroku`."),
          ),
        );
        child.on("close", (code, signal) => resolve(code ?? (signal ? 130 : 1)));
      });
    });
};
