/*
 * The pre-receive hook: a plain `sh` script that asks control over two descriptors that git hands down to it.
 *
 *   fd 3  both ways: the hook writes its quarantine's folders and one line a changed ref, then a blank line;
 *         at the end control writes the exit status, one line.
 *   fd 4  control writes what the pusher shall read; its end is the end of the output.
 *
 * An open descriptor is the right to ask, so no token, key or file name is given to the hook, and a control
 * that dies closes both: the hook then ends, and git rejects the push.
 */
export const HOOK_SCRIPT = `#!/bin/sh
{
  printf '%s\\n' "\${GIT_OBJECT_DIRECTORY}" "\${GIT_ALTERNATE_OBJECT_DIRECTORIES}" "\${GIT_QUARANTINE_PATH}"
  cat
  echo
} >&3
cat <&4 >&2
IFS= read -r status <&3 || status=1
exit "\${status:-1}"
`;

/** One changed ref, as git tells a pre-receive hook. */
export interface RefChange {
  before: string;
  after: string;
  ref: string;
}

/** What a hook told: the changed refs, and where the pushed objects lie until the push is accepted. */
export interface HookQuestion {
  /** Environment in which git sees the quarantined objects. */
  quarantine: Record<string, string>;
  changes: RefChange[];
}

const CHANGE = /^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) (refs\/.+)$/;
const QUARANTINE = ["GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"];

/** A push that changes more refs than this is not taken: its list is held in memory. */
export const CHANGES_LIMIT = 10_000;

/**
 * Reads a hook's whole question; null when its blank line has not come yet.
 * @throws Error when it is not of the hook's form, or too long.
 */
export function readQuestion(text: string): HookQuestion | null {
  if (!text.endsWith("\n\n")) return null;
  const lines = text.slice(0, -2).split("\n");
  const quarantine: Record<string, string> = {};
  for (const [index, name] of QUARANTINE.entries()) {
    const value = lines[index];
    if (value) quarantine[name] = value;
  }
  const changes = lines.slice(QUARANTINE.length).map((line) => {
    const read = CHANGE.exec(line);
    if (!read) throw new Error("The hook's question cannot be read.");
    return { before: read[1]!, after: read[2]!, ref: read[3]! };
  });
  if (changes.length > CHANGES_LIMIT) throw new Error(`A push changes at most ${CHANGES_LIMIT} refs.`);
  return { quarantine, changes };
}

/** True for the id that stands for "no object": a ref made or deleted. */
export const isZero = (id: string): boolean => /^0+$/.test(id);
