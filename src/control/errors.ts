/**
 * What the API says when it cannot do what was asked: Heroku's body `{id, message, url?}` under `status`
 * (Platform API reference, "Errors"). The message is a sentence that says what to do.
 */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  /** Stable and machine-readable: `not_found`, `invalid_params`, … */
  readonly id: string;
  /** Further headers of the answer. */
  readonly headers: Record<string, string>;

  constructor(status: number, id: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.id = id;
    this.headers = headers;
  }
}

/** 404; `what` names the thing: `app`, `build`, `release`. */
export const notFound = (what: string): ApiError =>
  new ApiError(404, "not_found", `Couldn't find that ${what}.`);

/** 422; the sentence says which value cannot be taken and what it may be. */
export const invalidParams = (sentence: string): ApiError => new ApiError(422, "invalid_params", sentence);

/** 400: the request itself cannot be read. */
export const badRequest = (sentence: string): ApiError => new ApiError(400, "bad_request", sentence);

export const unauthorized = (
  sentence = "There were no credentials, or they are not right; give the API key.",
): ApiError =>
  new ApiError(401, "unauthorized", sentence, {
    "WWW-Authenticate": 'Basic realm="Sluice", charset="UTF-8"',
  });

export const forbidden = (sentence: string): ApiError => new ApiError(403, "forbidden", sentence);

/** 409: true that it cannot be now, though it might later. */
export const conflict = (sentence: string): ApiError => new ApiError(409, "conflict", sentence);

/** 503: a part that this needs is away; try again. */
export const unavailable = (id: string, sentence: string): ApiError =>
  new ApiError(503, id, sentence, { "Retry-After": "2" });
