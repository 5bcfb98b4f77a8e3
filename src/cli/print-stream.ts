import type { Session } from "./session.ts";

/** Prints a build's or a release command's output as it comes, until its end; NULs are heartbeats. */
export async function printStream(session: Session, url: string): Promise<void> {
  const stream = await session.api.stream(url);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    await session.out.write(chunk.includes(0) ? chunk.filter((byte) => byte !== 0) : chunk);
  }
}
