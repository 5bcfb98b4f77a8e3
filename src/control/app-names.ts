import { randomInt } from "node:crypto";
import { invalidParams } from "./errors.ts";

const ADJECTIVES =
  "aged ancient autumn bold brave bright calm clear cold cool crisp damp dark dawn deep dry early fading falling fast floating fresh frosty gentle glacial green hidden high icy keen late limitless lively long mighty misty morning muddy nameless old patient plain polar quiet rapid restless rough rushing safe sharp shielded shrouded silent small snowy solitary spare still stormy swift tall tranquil warm wandering weathered wild winter young".split(
    " ",
  );
const NOUNS =
  "basin bay beach bird brook canyon castle cliff cloud coast cove creek dam dawn delta dune falls fen field firth fjord ford forest garden gate glade gorge grove harbor haven heath hill inlet island isle lagoon lake lock marsh meadow mill mist moor mountain oasis ocean peak pier pond pool quay rapids reef ridge river sands sea shelf shore spire spring strait stream summit surf tide valley wave weir wharf wood".split(
    " ",
  );

const pick = (words: readonly string[]): string => words[randomInt(words.length)]!;

/** A name for an app that was given none: `quiet-weir-48213`. */
export const inventName = (): string => `${pick(ADJECTIVES)}-${pick(NOUNS)}-${randomInt(10_000, 100_000)}`;

/** Heroku's rule for app names. */
const NAME = /^[a-z][a-z0-9-]{1,28}[a-z0-9]$/;

/** @throws ApiError 422 when `name` cannot be an app's. */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw invalidParams(
    "Name must start with a letter, end with a letter or digit, have 3 to 30 characters, and hold only lower-case letters, digits and dashes.",
  );
}
