/** Exit statuses of the command line; `sluice run` passes its command's own on. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** What ends a command: one sentence for the user and the exit status. */
export class Failure extends Error {
  override name = "Failure";
  readonly status: number;

  constructor(message: string, status: number = EXIT.failed) {
    super(message);
    this.status = status;
  }
}

/** The command line itself is wrong. */
export class UsageFailure extends Failure {
  override name = "UsageFailure";

  constructor(message: string) {
    super(message, EXIT.usage);
  }
}

/** The API refused: its status, its stable id and its sentence. */
export class ApiFailure extends Failure {
  override name = "ApiFailure";
  readonly httpStatus: number;
  readonly id: string;

  constructor(httpStatus: number, id: string, message: string) {
    super(message);
    this.httpStatus = httpStatus;
    this.id = id;
  }
}
