/** Heroku's bucket holds 4,500 requests; ours fills 60 times as fast, since it only has to stop a runaway client. */
const BUCKET = 4500;
const PER_SECOND = 75;

/** Requests that each account may still make: a token bucket. */
export class RateLimit {
  #buckets = new Map<string, { left: number; at: number }>();

  #bucket(account: string, now: number): { left: number; at: number } {
    let bucket = this.#buckets.get(account);
    if (!bucket) {
      bucket = { left: BUCKET, at: now };
      this.#buckets.set(account, bucket);
    }
    bucket.left = Math.min(BUCKET, bucket.left + ((now - bucket.at) / 1000) * PER_SECOND);
    bucket.at = now;
    return bucket;
  }

  /** Takes one; false when there is none. */
  take(account: string, now = Date.now()): boolean {
    const bucket = this.#bucket(account, now);
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

  remaining(account: string, now = Date.now()): number {
    return Math.floor(this.#bucket(account, now).left);
  }
}
