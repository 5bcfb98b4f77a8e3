/** Sluice cannot start; the message is one sentence that says what to do. Nothing has been harmed. */
export class StartError extends Error {
  override name = "StartError";
}

/** What the system refused, as a sentence; null when it is not one of the usual refusals. */
export function refusal(error: unknown): StartError | null {
  const { code, path } = error as NodeJS.ErrnoException;
  const where = path ? ` ${path}` : "";
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new StartError(
        `The disk that holds${where || " SLUICE_HOME"} is full: free some space, then start again.`,
      );
    case "EROFS":
      return new StartError(
        `${path ?? "SLUICE_HOME"} lies on a read-only file system: name another folder by SLUICE_HOME.`,
      );
    case "EACCES":
    case "EPERM":
      return new StartError(
        `${path ?? "A file"} may not be used by this user: start Sluice as the user who owns it, or name another folder by SLUICE_HOME.`,
      );
    default:
      return null;
  }
}
