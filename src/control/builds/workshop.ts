import type { Control } from "../control.ts";
import type { Egress } from "../egress/egress.ts";
import type { EgressProxy } from "../egress/proxy.ts";
import type { SlugStore } from "./slug-store.ts";
import type { Sources } from "./sources.ts";

/** What a build has at hand beside control's rooms. */
export interface Workshop {
  control: Omit<Control, "builds" | "leavings">;
  slugs: SlugStore;
  sources: Sources;
  egress: Egress;
  proxy: EgressProxy;
  /** Folder of outputs and of what builds fetch. */
  folder: string;
}
