import { DYNO_SIZES } from "../../config/environment.ts";
import type { Attachment, DynoOrder, Limits } from "../../wire/orders.ts";
import { featureOn } from "../features.ts";
import type { AppFormation, DynoRow, RunRelease } from "./rows.ts";

/** Seconds for a web dyno to bind its PORT (R10; contract, section 2). */
const BOOT_SECONDS = 60;

export function limitsOf(size: string): Limits {
  const { memoryBytes, processes, cpuShares } =
    DYNO_SIZES.get(size.toLowerCase()) ?? DYNO_SIZES.get("basic")!;
  return { memoryBytes, processes, cpuShares };
}

/** The dyno metadata of Heroku's feature `runtime-dyno-metadata` (contract, section 4). */
function metadata(
  formation: AppFormation,
  release: RunRelease,
  dyno: string,
  appDomain: string,
): Record<string, string> {
  const { id, name } = formation.app;
  return {
    HEROKU_APP_ID: id,
    HEROKU_APP_NAME: name,
    HEROKU_APP_DEFAULT_DOMAIN_NAME: `${name}.${appDomain}`,
    HEROKU_DYNO_ID: dyno,
    HEROKU_RELEASE_CREATED_AT: `${release.createdAt.toISOString().slice(0, 19)}Z`,
    HEROKU_RELEASE_VERSION: `v${release.version}`,
    HEROKU_SLUG_COMMIT: release.commit ?? "",
    HEROKU_SLUG_DESCRIPTION: release.commit ? `Deploy ${release.commit.slice(0, 8)}` : release.description,
  };
}

/**
 * The order for one dyno.
 * @param config the release's config vars
 * @param extra a one-off's own variables
 */
export function orderOf(
  formation: AppFormation,
  dyno: DynoRow,
  config: Readonly<Record<string, string>>,
  extra: Readonly<Record<string, string>>,
  attach: Attachment | null,
  appDomain: string,
): DynoOrder {
  const { app } = formation;
  const release = formation.releases.get(dyno.releaseId)!;
  return {
    dyno: dyno.id,
    kind: dyno.kind,
    app: app.id,
    appName: app.name,
    name: dyno.name,
    type: dyno.type,
    command: dyno.command,
    version: release.version,
    slug:
      release.slugId && release.sha256
        ? { id: release.slugId, sha256: release.sha256, size: release.slugSize }
        : null,
    stack: release.slugStack ?? app.stack,
    uid: app.dynoUid,
    env: {
      ...config,
      ...(featureOn(app, "runtime-dyno-metadata") ? metadata(formation, release, dyno.id, appDomain) : {}),
      ...extra,
    },
    size: dyno.size,
    limits: limitsOf(dyno.size),
    listens: dyno.kind === "formation" && dyno.type === "web",
    bootSeconds: BOOT_SECONDS,
    attach,
    timeToLive: dyno.timeToLive,
    metrics: featureOn(app, "log-runtime-metrics"),
  };
}
