import { type Joined, join } from "./attachment.ts";
import type { Box } from "./box/box.ts";
import type { BoxStdio } from "./box/spec.ts";
import { commandWords, dynoEnvironment } from "./command.ts";
import type { HostContext } from "./context.ts";
import { freePort } from "./ports.ts";
import type { DynoRecord } from "./record.ts";

/** What a dyno has of this machine over all its starts (slug, address, port), and the box that is made of it. */
export class Holdings {
  #context: HostContext;
  #record: DynoRecord;
  #held = false;

  constructor(context: HostContext, record: DynoRecord) {
    this.#context = context;
    this.#record = record;
  }

  /** Holds the slug of a box that an earlier life of the host started. */
  hold(): void {
    const { slug, uid } = this.#record.order;
    if (!slug || this.#held) return;
    this.#context.slugs.hold(slug.sha256, uid);
    this.#held = true;
  }

  /** Gives all of it back. */
  letGo(): void {
    const { order, slot } = this.#record;
    if (this.#held && order.slug) this.#context.slugs.release(order.slug.sha256, order.uid);
    this.#held = false;
    if (slot) this.#context.boxes.network?.give(slot);
    this.#record.slot = null;
  }

  /**
   * Makes the next box, and joins it to its client's stream where it has one.
   * @param unwanted asked last: true when a stop came meanwhile; then nothing is made, and null returned.
   * @param onBegin called right before, when the record names the box.
   * @throws ChecksumError of a wrong slug; Error when control or this machine cannot give what it needs.
   */
  async start(
    unwanted: () => boolean,
    onBegin: () => void,
  ): Promise<{ box: Box; joined: Joined | null } | null> {
    const record = this.#record;
    const { order } = record;
    const { boxes, slugs } = this.#context;
    let lower: string | null = null;
    if (order.slug) {
      lower = await slugs.ensure(order.slug, order.uid);
      // `ensure` holds once more each time; one hold a dyno is enough.
      if (this.#held) slugs.release(order.slug.sha256, order.uid);
      this.#held = true;
    }
    if (boxes.network) record.slot ??= await boxes.network.take();
    if (!record.port || !record.slot) record.port = await freePort(record.slot !== null);
    const stream = order.attach ? await this.#context.openStream(order.attach.stream) : null;
    if (unwanted()) {
      stream?.destroy();
      return null;
    }
    record.starts += 1;
    record.box = `${order.dyno}.${record.starts}`;
    onBegin();
    let stdio: BoxStdio = "fifo";
    if (order.attach?.terminal)
      stdio = { columns: order.attach.columns || 80, lines: order.attach.lines || 24 };
    else if (order.attach) stdio = ["pipe", "pipe", "pipe"];
    try {
      const box = await boxes.start({
        id: record.box,
        uid: order.uid,
        gid: order.uid,
        lower,
        mounts: [],
        env: dynoEnvironment(order, record.port),
        cwd: "/app",
        argv: commandWords(order.command, lower),
        stdio,
        limits: order.limits,
        network: record.slot ?? "machine",
        hostname: order.dyno,
      });
      return { box, joined: stream ? join(box, stream) : null };
    } catch (error) {
      stream?.destroy();
      throw error;
    }
  }
}
