import { execFile } from "node:child_process";
import { statfs } from "node:fs/promises";
import path from "node:path";

const MIB = 1024 * 1024;
/** With less free than this the dyno that wrote most is ended, before the store and the Logplex cannot write. */
const RESERVE_BYTES = (Number(process.env.SLUICE_DISK_RESERVE) || 64) * MIB;
/** A dyno that wrote less than this is not what fills the disk. */
const LEAST_BYTES = 8 * MIB;

/** Bytes below each folder; one that cannot be read to its end counts with what was read. */
function sizes(folders: string[]): Promise<number[]> {
  return new Promise((resolve) => {
    execFile("du", ["-sxk", "--", ...folders], (_error, stdout) => {
      const told = new Map(
        stdout.split("\n").map((line): [string, number] => {
          const [size = "0", folder = ""] = line.split("\t");
          return [folder, Number(size) * 1024];
        }),
      );
      resolve(folders.map((folder) => told.get(folder) ?? 0));
    });
  });
}

/**
 * Of the boxes with these folders, the one that has written most, when the disk that holds `folder` is nearly
 * full; null when it is not, or no box is to blame. There are no quotas without a file system made for them.
 */
export async function findFiller(
  folder: string,
  boxes: string[],
): Promise<{ box: string; bytes: number } | null> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= RESERVE_BYTES || !boxes.length) return null;
  const written = await sizes(boxes.map((box) => path.join(box, "upper")));
  const bytes = Math.max(...written);
  return bytes < LEAST_BYTES ? null : { box: boxes[written.indexOf(bytes)] as string, bytes };
}
