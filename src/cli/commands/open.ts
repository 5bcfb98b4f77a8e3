import { spawn } from "node:child_process";
import { type AppOptions, addAppCommand, type Noun } from "../command.ts";
import { Failure } from "../failure.ts";

/** The program that opens a URL here; null on a machine without a desktop. */
function opener(env: NodeJS.ProcessEnv): string | null {
  if (process.platform === "darwin") return "open";
  return env.DISPLAY || env.WAYLAND_DISPLAY ? "xdg-open" : null;
}

export const open: Noun = (program, session) => {
  addAppCommand(program, "open [path]", {
    group: "Apps:",
    summary: "print the app's URL, and open it where there is a browser",
    examples: ["sluice open", "sluice open /admin"],
    aliases: ["apps:open"],
  }).action(async (path: string | undefined, options: AppOptions) => {
    const app = await session.api.get<{ name: string; web_url: string | null }>(session.path(options));
    if (!app.web_url) throw new Failure(`${app.name} has no URL.`);
    const url = new URL(path ?? "", app.web_url).href;
    session.out.line(url);
    const program = session.out.isTerminal ? opener(session.env) : null;
    if (!program) return;
    const child = spawn(program, [url], { detached: true, stdio: "ignore" });
    // No such program: the URL is printed, which is what was asked.
    child.on("error", () => {});
    child.unref();
  });
};
