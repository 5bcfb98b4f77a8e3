import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import {
  type AppOptions,
  addAppCommand,
  addAppListing,
  addCommand,
  type JsonOption,
  type Noun,
} from "../command.ts";
import { Failure, UsageFailure } from "../failure.ts";
import { bytes } from "../output.ts";
import { git, inRepository, redacted, remotes } from "../remotes.ts";
import type { Session } from "../session.ts";
import { shellQuoted } from "../shell.ts";

interface App {
  id: string;
  name: string;
  web_url: string | null;
  git_url: string;
  stack: { name: string };
  maintenance: boolean;
  slug_size: number | null;
  owner: { email: string };
  created_at: string;
  released_at: string | null;
}

/** Git URL of `app` as this client reaches it: no key in it. */
const gitUrl = (session: Session, app: string, tls = false): string =>
  `${tls ? session.target.tlsUrl : session.target.url}/${app}.git`;

/** Whether the remote's `url`, with or without a key in it, is that of `app` at this Sluice. */
const isGitUrl = (session: Session, app: string, url: string): boolean =>
  [gitUrl(session, app), gitUrl(session, app, true)].includes(redacted(url));

/** Path of bin/sluice: the helper must work from any folder, and `sluice` need not be on PATH. */
const program = (): string => fileURLToPath(new URL("../../../../bin/sluice", import.meta.url));

/**
 * Makes the repository push to `app`: a remote without the key, and for that server alone, plain and over TLS,
 * a credential helper that asks this command line, and the private CA. An earlier helper's list is emptied
 * first, so that no other one keeps the key.
 */
function addRemote(session: Session, remote: string, app: string, tls: boolean): void {
  const { url, tlsUrl, ca } = session.target;
  const set = (...args: string[]): void => {
    if (git(session.cwd, "config", "--local", ...args) === null) {
      throw new Failure(`git could not write this repository's config (git config ${args[0]}).`);
    }
  };
  const pushed = gitUrl(session, app, tls);
  if (git(session.cwd, "remote", "add", remote, pushed) === null) {
    throw new Failure(`git could not add the remote ${remote}.`);
  }
  // Git also tells its helpers what it learned; a push shall not wait for a program that ignores it.
  const helper = `!f() { test "$1" != get || exec ${shellQuoted(process.execPath)} ${shellQuoted(program())} git-credentials get; }; f`;
  for (const server of new Set([url, tlsUrl])) {
    set("--replace-all", `credential.${server}.helper`, "");
    set("--add", `credential.${server}.helper`, helper);
  }
  if (!ca) return;
  set(`http.${tlsUrl}/.sslCAInfo`, ca);
  // git lets this variable win over the repository's setting.
  if (pushed.startsWith("https:") && session.env.GIT_SSL_CAINFO) {
    session.out.remark(
      `GIT_SSL_CAINFO in your environment hides this Sluice's CA from git; push with: env -u GIT_SSL_CAINFO git push ${remote} main`,
    );
  }
}

/** Asks the user to type the app's name; without a terminal there must be `--confirm`. */
async function confirm(app: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new UsageFailure(`This destroys ${app} with all that it has; say so with --confirm ${app}.`);
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (
      await lines.question(`This destroys ${app} with all that it has. Type its name to go on: `)
    ).trim();
  } finally {
    lines.close();
  }
}

export const apps: Noun = (program, session) => {
  const { out } = session;

  addCommand(program, "apps", {
    group: "Apps:",
    summary: "list the apps",
    examples: ["sluice apps", "sluice apps --json"],
    aliases: ["list"],
  })
    .option("--json", "print the API's answer as JSON")
    .action(async (options: JsonOption) => {
      const all = await session.api.list<App>("/apps");
      if (options.json) return out.json(all);
      if (all.length === 0) return out.remark("There are no apps yet; make one with `sluice create NAME`.");
      out.table(
        ["NAME", "URL", "STACK"],
        all
          .sort((a, b) => (a.name < b.name ? -1 : 1))
          .map((app) => [app.name, app.web_url ?? "", app.stack.name]),
      );
    });

  addCommand(program, "create [name]", {
    group: "Apps:",
    summary: "make an app, and in a git repository a remote to push it by",
    more: "The remote holds no key: git asks `sluice git-credentials` for it.",
    examples: ["sluice create hello && git push sluice main", "sluice create --no-remote hello-staging"],
    aliases: ["apps:create"],
  })
    .option("-r, --remote <remote>", "name of the git remote", "sluice")
    .option("--no-remote", "add no git remote")
    .option("--tls", "push over TLS")
    .option("-b, --buildpack <name>", "buildpack to set")
    .option("--json", "print the API's answer as JSON")
    .action(
      async (
        name: string | undefined,
        options: JsonOption & { remote: string | false; tls?: boolean; buildpack?: string },
      ) => {
        const wanted = options.remote !== false && inRepository(session.cwd) ? options.remote : null;
        const app = await session.api.post<App>("/apps", name ? { name } : {});
        if (options.buildpack) {
          await session.api.put(`/apps/${app.name}/buildpack-installations`, {
            updates: [{ buildpack: options.buildpack }],
          });
        }
        if (options.json) out.json(app);
        else {
          out.line(`Created ${out.paint("bold", app.name)}.`);
          out.fields([
            ["url", app.web_url ?? ""],
            ["git", gitUrl(session, app.name, options.tls)],
          ]);
        }
        if (!wanted) return;
        const known = remotes(session.cwd).get(wanted);
        if (known !== undefined) {
          out.remark(
            `The git remote ${wanted} is there already (${redacted(known)}) and stays as it is; add one with: sluice git:remote -a ${app.name} -r NAME`,
          );
          return;
        }
        addRemote(session, wanted, app.name, options.tls === true);
        out.hint(`Deploy it: git push ${wanted} main`);
      },
    );

  addAppListing(program, "info", {
    group: "Apps:",
    summary: "show what there is to know of an app",
    examples: ["sluice info -a hello", "sluice info --json"],
    aliases: ["apps:info"],
  }).action(async (options: AppOptions & JsonOption) => {
    const app = await session.api.get<App>(session.path(options));
    if (options.json) return out.json(app);
    const dynos = await session.api.list<{ type: string; quantity: number }>(
      session.path(options, "formation"),
    );
    out.fields([
      ["name", app.name],
      ["url", app.web_url ?? ""],
      ["git", gitUrl(session, app.name)],
      ["owner", app.owner.email],
      ["stack", app.stack.name],
      ["dynos", dynos.map((row) => `${row.type}=${row.quantity}`).join(" ")],
      ["slug", app.slug_size ? bytes(app.slug_size) : "none"],
      ["maintenance", app.maintenance ? "on" : "off"],
      ["created", app.created_at],
      ["released", app.released_at ?? "never"],
    ]);
  });

  addAppCommand(program, "destroy [name]", {
    group: "Apps:",
    summary: "destroy an app with all that it has",
    examples: ["sluice destroy hello --confirm hello"],
    aliases: ["apps:destroy"],
  })
    .option("-c, --confirm <app>", "the app's name once more, in place of the question")
    .action(async (name: string | undefined, options: AppOptions & { confirm?: string }) => {
      const { name: app } = await session.api.get<App>(
        `/apps/${encodeURIComponent(name ?? session.app(options))}`,
      );
      const answer = options.confirm ?? (await confirm(app));
      if (answer !== app) throw new UsageFailure(`"${answer}" is not ${app}; nothing is destroyed.`);
      await session.api.delete(`/apps/${app}`);
      for (const [remote, url] of remotes(session.cwd)) {
        if (isGitUrl(session, app, url)) git(session.cwd, "remote", "remove", remote);
      }
      out.line(`Destroyed ${app}.`);
    });

  addAppCommand(program, "rename <new-name>", {
    group: "Apps:",
    summary: "rename an app, its host name and its git remote",
    examples: ["sluice rename -a hello greetings"],
    aliases: ["apps:rename"],
  }).action(async (name: string, options: AppOptions) => {
    const { name: old } = await session.api.get<App>(session.path(options));
    const app = await session.api.patch<App>(`/apps/${old}`, { name });
    for (const [remote, url] of remotes(session.cwd)) {
      if (isGitUrl(session, old, url)) {
        const tls = redacted(url) !== gitUrl(session, old);
        git(session.cwd, "remote", "set-url", remote, gitUrl(session, app.name, tls));
      }
    }
    out.line(`Renamed ${old} to ${app.name}.`);
    out.fields([
      ["url", app.web_url ?? ""],
      ["git", gitUrl(session, app.name)],
    ]);
  });

  addCommand(program, "git:remote", {
    group: "Apps:",
    summary: "add a git remote for an app that is there already",
    examples: ["sluice git:remote -a hello", "sluice git:remote -a hello-staging -r staging"],
  })
    .requiredOption("-a, --app <app>", "app to push to")
    .option("-r, --remote <remote>", "name of the git remote", "sluice")
    .option("--tls", "push over TLS")
    .action(async (options: { app: string; remote: string; tls?: boolean }) => {
      if (!inRepository(session.cwd))
        throw new UsageFailure("This is no git repository; make one with `git init`.");
      const app = await session.api.get<App>(`/apps/${encodeURIComponent(options.app)}`);
      git(session.cwd, "remote", "remove", options.remote);
      addRemote(session, options.remote, app.name, options.tls === true);
      out.line(`The remote ${options.remote} pushes to ${app.name}.`);
    });
};
