import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { Yard } from "../builds/yard.ts";
import { git } from "../builds/yard.ts";

export interface Built {
  processTypes: Record<string, string>;
  /** Folder that holds the slug's app/. */
  lower: string;
}

/** The slug of the app's current release, unpacked from its archive and given to `uid`. */
export async function newestSlug(yard: Yard, app: string, uid: number): Promise<Built> {
  const releases = await yard.api<{ version: number; slug: { id: string } | null }[]>(
    "GET",
    `/apps/${app}/releases`,
  );
  const newest = releases.body.filter(({ slug }) => slug).sort((a, b) => b.version - a.version)[0];
  assert.ok(newest?.slug, `${app} has no release with a slug`);
  const { body } = await yard.api<{ process_types: Record<string, string>; blob: { url: string } }>(
    "GET",
    `/apps/${app}/slugs/${newest.slug.id}`,
  );
  const lower = mkdtempSync(path.join(yard.home, "slug-"));
  chmodSync(lower, 0o755);
  const archive = Buffer.from(await (await fetch(body.blob.url)).arrayBuffer());
  execFileSync("tar", ["-xzf", "-", "-C", lower], { input: archive });
  execFileSync("chown", ["-hR", `${uid}:${uid}`, path.join(lower, "app")]);
  return { processTypes: body.process_types, lower };
}

/** Makes these files the whole content of the repository. */
export function replaceFiles(yard: Yard, repository: string, files: Record<string, string>): void {
  git(repository, "rm", "-rq", "--ignore-unmatch", ".");
  mkdirSync(repository, { recursive: true });
  yard.commit(repository, files);
}

export const dropSlug = ({ lower }: Built): void => rmSync(lower, { recursive: true, force: true });
