import type { Logger } from "pino";
import type { Builds } from "./builds/builds.ts";
import type { Formation } from "./formation/formation.ts";
import { Refresher } from "./refresher.ts";
import type { Releases } from "./releases/releases.ts";
import type { Store } from "./store/store.ts";

/** A host that is away is asked again after this pause. */
const RETRY_MS = 5000;

/** Frees what destroyed apps leave on hosts and disk; what a kill cuts off is taken up at the next start. */
export interface Leavings {
  /** The app's rows are gone and its leavings row is written. Resolves after a first try. */
  left(appId: string): Promise<void>;
  close(): void;
}

export async function openLeavings(control: {
  store: Store;
  log: Logger;
  formation: Formation;
  builds: Builds;
  releases: Releases;
}): Promise<Leavings> {
  const { store, log } = control;
  const timers = new Set<NodeJS.Timeout>();
  const refresher = new Refresher(log, async (appId) => {
    const { rows } = await store.pool.query<{ dyno_uid: number; build_uid: number; release_ids: string[] }>(
      "SELECT dyno_uid, build_uid, release_ids FROM leavings WHERE app_id = $1",
      [appId],
    );
    const left = rows[0];
    if (!left) return;
    const freed = await Promise.allSettled([
      control.formation.destroyed(appId, [left.dyno_uid, left.build_uid]),
      control.builds.forget(appId),
      control.releases.forget(left.release_ids),
    ]);
    const failed = freed.find((part) => part.status === "rejected");
    if (failed) {
      log.info({ err: failed.reason, app: appId }, "what a destroyed app left could not all be freed yet");
      const timer = setTimeout(() => {
        timers.delete(timer);
        void refresher.changed(appId);
      }, RETRY_MS);
      timers.add(timer);
      return;
    }
    await store.pool.query("DELETE FROM leavings WHERE app_id = $1", [appId]);
  });
  const { rows } = await store.pool.query<{ app_id: string }>("SELECT app_id FROM leavings");
  for (const { app_id } of rows) void refresher.changed(app_id);
  return {
    left: (appId) => refresher.changed(appId),
    close() {
      refresher.close();
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
