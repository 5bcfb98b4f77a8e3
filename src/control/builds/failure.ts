/** Why a build did not become a release: a stable id, a sentence, and what the pusher is shown. */
export class BuildFailure extends Error {
  override name = "BuildFailure";
  readonly id: string;
  /** Lines shown before ` !     Push failed`; empty when they stand in the output already. */
  readonly lines: string[];

  constructor(id: string, message: string, lines: string[] = [` !     ${message}`]) {
    super(message);
    this.id = id;
    this.lines = lines;
  }
}

/** Heroku's warning below a failed build whose source was built before. */
export const builtBefore = (version: string): string[] =>
  [
    "",
    `## Warning - The same version of this code has already been built: ${version}`,
    "",
    `We have detected that you have triggered a build from source code with version ${version}`,
    "at least twice. One common cause of this behavior is attempting to deploy code from a different branch.",
    "",
    "If you are developing on a branch and deploying via git you must run:",
    "",
    "    git push <remote> <branchname>:main",
    "",
  ].map((line) => ` ! ${line}`.trimEnd());

/** A size as Heroku writes it: `667B`, `20.7M`, `125M`. */
export function shortSize(bytes: number): string {
  const units = ["B", "K", "M", "G"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 100 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
  return `${text}${units[unit]}`;
}
