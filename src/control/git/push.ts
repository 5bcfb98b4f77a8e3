import type { ChildProcess } from "node:child_process";
import type net from "node:net";
import { PassThrough, pipeline, type Readable } from "node:stream";
import type { App } from "../apps.ts";
import type { Control } from "../control.ts";
import type { Actor } from "../releases/releases.ts";
import { CHANGES_LIMIT, type HookQuestion, isZero, type RefChange, readQuestion } from "./hook.ts";
import type { Repositories } from "./repository.ts";

/** Branches whose push is a deploy; the first that a push holds is built. */
const DEPLOYED = ["refs/heads/main", "refs/heads/master"];
/** Bytes of a hook's question: CHANGES_LIMIT lines with long names. */
const QUESTION_LIMIT = CHANGES_LIMIT * 512;

interface Push {
  control: Control;
  repositories: Repositories;
  app: App;
  actor: Actor;
  folder: string;
}

/**
 * Answers the pre-receive hook of one `git receive-pack`: says what becomes of the push, builds what deploys,
 * and lets the push through or not. Resolves when the hook has its answer, or when there was none to give.
 */
export async function answerHook(push: Push, receivePack: ChildProcess): Promise<void> {
  const talk = receivePack.stdio[3] as net.Socket;
  const output = receivePack.stdio[4] as net.Socket;
  // A hook that is gone reads nothing more; the build goes on.
  for (const socket of [talk, output]) socket.on("error", () => {});
  let accepted = false;
  try {
    const question = await hear(talk);
    if (!question) return;
    accepted = await decide(push, question, output);
  } catch (error) {
    push.control.log.error({ err: error, app: push.app.id }, "a push could not be answered");
    say(output, [" !     Something went wrong in Sluice; its diagnostics have more. Push again.", ""]);
  }
  output.end();
  talk.end(accepted ? "0\n" : "1\n");
}

/** The hook's question; null when git never ran the hook (nothing to change, or refused before). */
function hear(talk: net.Socket): Promise<HookQuestion | null> {
  return new Promise((resolve, reject) => {
    let text = "";
    talk.setEncoding("utf8");
    talk.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > QUESTION_LIMIT) return reject(new Error("The hook's question is too long."));
      if (!text.endsWith("\n\n")) return;
      try {
        resolve(readQuestion(text));
      } catch (error) {
        reject(error);
      }
    });
    talk.on("close", () => resolve(null));
    talk.on("end", () => resolve(null));
  });
}

function say(output: net.Socket, lines: string[]): void {
  if (output.writable) output.write(`${lines.join("\n")}\n`);
}

async function decide(push: Push, question: HookQuestion, output: net.Socket): Promise<boolean> {
  const { changes } = question;
  const deploy = DEPLOYED.map((ref) =>
    changes.find((change) => change.ref === ref && !isZero(change.after)),
  ).find(Boolean);
  for (const change of changes) {
    if (change === deploy) continue;
    const name = change.ref.replace(/^refs\/(heads|tags)\//, "");
    if (isZero(change.after)) {
      say(output, [`Deleted ${name}; what runs goes on running.`, ""]);
    } else if (DEPLOYED.includes(change.ref)) {
      say(output, [`Pushed both main and master; only ${deploy!.ref.slice(11)} is built.`, ""]);
    } else {
      say(output, [
        `Pushed to non-main branch ${name}, skipping build.`,
        `To deploy it, push it to main: git push <remote> ${name}:main`,
        "",
      ]);
    }
  }
  return deploy ? build(push, question, deploy, output) : true;
}

async function build(
  { control, repositories, app, actor, folder }: Push,
  { quarantine }: HookQuestion,
  change: RefChange,
  output: net.Socket,
): Promise<boolean> {
  let commit: string;
  let seconds: string;
  let subject: string;
  try {
    // Each git process costs a pusher some 10 ms: one tells all.
    const told = await repositories.ask(
      folder,
      ["log", "-1", "--format=%H%n%ct%n%s", "--end-of-options", `${change.after}^{commit}`],
      quarantine,
    );
    [commit, seconds, subject] = [...told.split("\n"), ""] as [string, string, string];
  } catch {
    say(output, [` !     ${change.ref} is not a commit; push a branch.`, ""]);
    return false;
  }
  say(output, ["Compressing source files... done.", "Building source:", ""]);
  const archive = repositories.start(
    folder,
    ["archive", "--format=tar", commit],
    { stdio: ["ignore", "pipe", "ignore"] },
    quarantine,
  );
  const underWay = await control.builds.start({
    appId: app.id,
    actor,
    // Node drops what an ended process has printed and nobody read yet: so it is read at once, as far as fits.
    source: { tar: pipeline(archive.stdout!, new PassThrough(), () => {}), clampTime: Number(seconds) },
    version: commit,
    versionDescription: subject || null,
    buildpacks: null,
  });
  await show(underWay.output(), output);
  const outcome = await underWay.done;
  archive.stdout!.destroy();
  if (outcome.ok) {
    if (!outcome.releaseCommand) say(output, ["", "Verifying deploy... done."]);
    return true;
  }
  say(output, ["", "Verifying deploy...", "", `!\tPush rejected to ${app.name}.`, ""]);
  return false;
}

/** Copies what a build prints to the pusher while there is one; a slow pusher holds up only itself. */
async function show(from: Readable, to: net.Socket): Promise<void> {
  for await (const chunk of from) {
    if (!to.writable) return;
    if (!to.write(chunk)) {
      await new Promise<void>((resolve) => {
        to.once("drain", resolve);
        to.once("close", resolve);
      });
    }
  }
}
