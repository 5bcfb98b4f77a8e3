import type { DynoState } from "../../wire/orders.ts";

/*
 * What to do next with an app's dynos: a pure function of what the store holds and the hosts report. Design
 * section 8.6: only web overlaps. A web dyno's way:
 *
 *   beside ──(all beside are up)──▶ serving ──(release, restart)──▶ replaced ──▶ draining ──▶ gone
 *
 * New web dynos that crash twice or never listen are taken away and the old ones stay. Every other type is
 * stopped first; its successor is `queued` until the host says that the old one has ended.
 */

export type Phase = "queued" | "beside" | "serving" | "replaced" | "draining" | "stopping";

export interface PlannedDyno {
  id: string;
  type: string;
  /** The 2 of `web.2`. */
  number: number;
  releaseId: string;
  version: number;
  command: string;
  size: string;
  phase: Phase;
  state: DynoState;
  /** It crashed twice, or never listened. */
  failed: boolean;
}

export interface FormationPicture {
  /** The release that new dynos run; null before the first. */
  current: {
    id: string;
    version: number;
    processTypes: Readonly<Record<string, string>>;
    trouble: string | null;
  } | null;
  /** What each process type shall have. */
  wanted: ReadonlyMap<string, { quantity: number; size: string }>;
  /** App feature `preboot`: web overlaps. */
  preboot: boolean;
  /** Dynos of the formation; one-offs are not planned. */
  dynos: readonly PlannedDyno[];
}

export type Step =
  | { do: "create"; dyno: Omit<PlannedDyno, "id" | "state" | "failed" | "version"> }
  | { do: "move"; id: string; phase: Phase }
  | { do: "remove"; id: string }
  /** The current release's dynos do not come up (a sentence), or do after all (null). */
  | { do: "trouble"; text: string | null };

/** Runs as a one-off before a release; never a part of the formation. */
export const RELEASE_TYPE = "release";

/** The next steps; none when the formation is as it shall be, or waits for its dynos. */
export function planFormation(picture: FormationPicture): Step[] {
  const types = new Set(picture.dynos.map((dyno) => dyno.type));
  for (const type of Object.keys(picture.current?.processTypes ?? {})) types.add(type);
  types.delete(RELEASE_TYPE);
  const steps: Step[] = [];
  for (const type of types) steps.push(...(type === "web" ? planWeb(picture) : planOther(picture, type)));
  return steps;
}

const isDown = (dyno: PlannedDyno): boolean => dyno.state === "crashed" && dyno.failed;

/** Takes a web dyno out of the formation; one that may have requests finishes them first. */
const retire = (dyno: PlannedDyno): Step =>
  dyno.state === "up" && dyno.phase !== "beside"
    ? { do: "move", id: dyno.id, phase: "draining" }
    : { do: "remove", id: dyno.id };

const serve = (dyno: PlannedDyno): Step => ({ do: "move", id: dyno.id, phase: "serving" });

const remove = (dyno: PlannedDyno): Step => ({ do: "remove", id: dyno.id });

function wantedOf(picture: FormationPicture, type: string): { quantity: number; size: string } {
  const row = picture.wanted.get(type);
  const has = picture.current?.processTypes[type] !== undefined;
  return { quantity: has ? (row?.quantity ?? 0) : 0, size: row?.size ?? "" };
}

const missing = (dynos: readonly PlannedDyno[], quantity: number): number[] => {
  const there = new Set(dynos.map((dyno) => dyno.number));
  return Array.from({ length: quantity }, (_, index) => index + 1).filter((number) => !there.has(number));
};

function planWeb(picture: FormationPicture): Step[] {
  const { current } = picture;
  const { quantity, size } = wantedOf(picture, "web");
  const active = picture.dynos.filter(
    ({ type, phase }) => type === "web" && phase !== "draining" && phase !== "stopping",
  );
  const settled = active.filter(({ phase }) => phase !== "beside");
  const troubled = current !== null && current.trouble !== null;
  if (troubled && settled.length === 0) return [{ do: "trouble", text: null }];
  // While the current release is in trouble, the formation is that of the dynos which go on serving.
  const newest = settled.reduce<PlannedDyno | null>((a, b) => (a && a.version >= b.version ? a : b), null);
  const target = troubled
    ? { releaseId: newest!.releaseId, command: newest!.command }
    : { releaseId: current?.id ?? "", command: current?.processTypes.web ?? "" };

  const fits = (dyno: PlannedDyno): boolean =>
    dyno.phase !== "replaced" && dyno.releaseId === target.releaseId && (troubled || dyno.size === size);
  const fresh = active.filter(fits);
  const old = active.filter((dyno) => !fits(dyno));
  const cover = old.filter((dyno) => dyno.phase !== "beside" && dyno.number <= quantity && !isDown(dyno));
  const overlaps = picture.preboot && quantity > 0 && cover.length > 0;
  const beside = fresh.filter((dyno) => dyno.phase === "beside");

  const steps: Step[] = [];
  for (const dyno of old) {
    if (overlaps && cover.includes(dyno)) continue;
    steps.push(quantity > 0 && !picture.preboot ? remove(dyno) : retire(dyno));
  }
  for (const dyno of fresh) if (dyno.number > quantity) steps.push(retire(dyno));
  const absent = missing(fresh, quantity);
  if (!overlaps) steps.push(...beside.filter(({ number }) => number <= quantity).map(serve));
  else if (beside.some((dyno) => dyno.failed)) return [...steps, ...fallBack(picture, cover, beside)];
  else if (absent.length === 0 && beside.every((dyno) => dyno.state === "up")) {
    steps.push(...beside.map(serve), ...cover.map(retire));
    if (troubled && target.releaseId === current.id) steps.push({ do: "trouble", text: null });
    return steps;
  }
  for (const number of absent) {
    const phase = overlaps ? "beside" : "serving";
    steps.push({ do: "create", dyno: { type: "web", number, ...target, size, phase } });
  }
  return steps;
}

/** The new web dynos do not come up: they go, and the old ones stay. */
function fallBack(
  { current }: FormationPicture,
  cover: readonly PlannedDyno[],
  beside: readonly PlannedDyno[],
): Step[] {
  const failed = beside.find((dyno) => dyno.failed)!;
  const served = cover.reduce((a, b) => (a.version >= b.version ? a : b));
  const who = served.version === failed.version ? "the old dynos go" : `v${served.version} goes`;
  const steps: Step[] = [
    ...beside.map(remove),
    ...cover.filter(({ phase }) => phase === "replaced").map(serve),
  ];
  if (current?.trouble === null) {
    const text = `New web dynos of v${failed.version} did not come up (web.${failed.number} failed), so ${who} on serving`;
    steps.push({ do: "trouble", text });
  }
  return steps;
}

function planOther(picture: FormationPicture, type: string): Step[] {
  const { current } = picture;
  const { quantity, size } = wantedOf(picture, type);
  const dynos = picture.dynos.filter((dyno) => dyno.type === type);
  const ending = new Set(dynos.filter(({ phase }) => phase === "stopping").map(({ number }) => number));
  const active = dynos.filter(({ phase }) => phase !== "stopping");
  const fits = (dyno: PlannedDyno): boolean =>
    dyno.phase !== "replaced" &&
    dyno.releaseId === current?.id &&
    dyno.size === size &&
    dyno.number <= quantity;

  const steps: Step[] = [];
  for (const dyno of active) {
    if (!fits(dyno)) {
      if (dyno.phase === "queued") steps.push(remove(dyno));
      else {
        steps.push({ do: "move", id: dyno.id, phase: "stopping" });
        ending.add(dyno.number);
      }
    } else if (dyno.phase === "queued" && !ending.has(dyno.number)) steps.push(serve(dyno));
  }
  for (const number of missing(active.filter(fits), quantity)) {
    const phase = ending.has(number) ? "queued" : "serving";
    const command = current!.processTypes[type]!;
    steps.push({ do: "create", dyno: { type, number, releaseId: current!.id, command, size, phase } });
  }
  return steps;
}
