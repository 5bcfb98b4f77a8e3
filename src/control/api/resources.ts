import * as git from "../git/http.ts";
import * as account from "./account.ts";
import * as addons from "./addons.ts";
import * as apps from "./apps.ts";
import * as authorizations from "./authorizations.ts";
import * as buildpackInstallations from "./buildpack-installations.ts";
import * as buildpacks from "./buildpacks.ts";
import * as builds from "./builds.ts";
import * as collaborators from "./collaborators.ts";
import * as configVars from "./config-vars.ts";
import * as domains from "./domains.ts";
import * as dynoSizes from "./dyno-sizes.ts";
import * as dynos from "./dynos.ts";
import * as features from "./features.ts";
import * as formation from "./formation.ts";
import * as health from "./health.ts";
import * as logDrains from "./log-drains.ts";
import * as logSessions from "./log-sessions.ts";
import * as logSources from "./log-sources.ts";
import * as metrics from "./metrics.ts";
import * as regions from "./regions.ts";
import * as releases from "./releases.ts";
import type { Register } from "./server.ts";
import * as slugs from "./slugs.ts";
import * as sources from "./sources.ts";
import * as stacks from "./stacks.ts";

/** Everything that the API serves, one file a resource. */
export const RESOURCES: readonly Register[] = [
  // First, so that its hook sees every route.
  metrics.register,
  health.register,
  account.register,
  addons.register,
  apps.register,
  authorizations.register,
  buildpackInstallations.register,
  buildpacks.register,
  builds.register,
  collaborators.register,
  configVars.register,
  domains.register,
  dynoSizes.register,
  dynos.register,
  features.register,
  formation.register,
  logDrains.register,
  logSessions.register,
  logSources.register,
  git.register,
  regions.register,
  releases.register,
  slugs.register,
  sources.register,
  stacks.register,
];
