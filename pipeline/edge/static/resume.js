/**
 * What a reader of one scan has seen, and when it tries again. Pure: no socket, no timer.
 *
 * | message               | verdict                                                                |
 * |-----------------------|------------------------------------------------------------------------|
 * | first batch           | taken wherever it begins; what lies before it is no longer held        |
 * | batch after the last  | taken: `first == last seen + 1` in the same epoch                      |
 * | batch already seen    | dropped as a duplicate                                                 |
 * | batch further on      | a gap: reconnect with the last position                                |
 * | batch of a new epoch  | everything before is forgotten, then taken                             |
 * | lag from..to          | what still comes of that range is taken; then it goes on at `to + 1`   |
 */

/** Close codes after which the server does not want the client back. */
export const FINAL_CLOSE_CODES = new Set([4400, 4401, 4403, 4404, 4406]);

const FIRST_RETRY_WITHIN_MS = 200;
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 20_000;

/**
 * How long to wait before a retry: at once for the first (spread, so that a restarted edge is not hit by
 * everyone in the same instant), then exponential with full jitter up to 20 s.
 *
 * @param {number} attempt failures in a row so far, 0 for the first
 * @param {number} random 0 <= random < 1
 * @returns {number} milliseconds
 */
export function retryDelay(attempt, random) {
  if (attempt === 0) return random * FIRST_RETRY_WITHIN_MS;
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** attempt);
  return Math.max(BACKOFF_BASE_MS, random * ceiling);
}

export class ReadPosition {
  constructor() {
    this.forget(null);
  }

  /** Start over: the next batch is taken wherever it begins. @param {number | null} epoch null: not known */
  forget(epoch) {
    this.epoch = epoch;
    this.seq = null;
    this.lagTo = null;
  }

  /** The value of `since` to resume with, or null when nothing was seen. */
  get since() {
    return this.epoch === null || this.seq === null ? null : `${this.epoch}:${this.seq}`;
  }

  /**
   * Judge a batch, and move on if it is to be used.
   *
   * @param {{epoch: number, seq: [number, number]}} batch
   * @returns {"take" | "duplicate" | "gap" | "new-epoch"} "new-epoch": clear all state, then use it
   */
  batch({ epoch, seq: [first, last] }) {
    if (this.epoch !== null && epoch < this.epoch) return "duplicate";
    if (this.epoch !== null && epoch > this.epoch) {
      this.forget(epoch);
      this.seq = last;
      return "new-epoch";
    }
    this.epoch = epoch;
    if (this.lagTo !== null) {
      // Resuming from before the range is safe until it is over: the server then tells of the same lag again.
      if (last <= this.lagTo) return "take";
      if (first === this.lagTo + 1) this.seq = this.lagTo;
      this.lagTo = null;
    }
    if (this.seq !== null && last <= this.seq) return "duplicate";
    if (this.seq !== null && first !== this.seq + 1) return "gap";
    this.seq = last;
    return "take";
  }

  /** Note a range that the server leaves out, but for its critical events. */
  lag({ to }) {
    if (Number.isInteger(to) && this.seq !== null && to > this.seq) this.lagTo = to;
  }
}
