/**
 * Counts things per second over the last minute. Pure: every method is told the time.
 *
 * It knows nothing of the time before it was first used, nor of the second in which that was.
 */

const SECONDS = 60;
const MEAN_OVER_S = 3;

export class RateMeter {
  constructor() {
    this.slots = new Array(SECONDS + 1).fill(0);
    this.second = null;
    this.first = null;
  }

  /**
   * @param {number} events how many came
   * @param {number} now monotonic milliseconds
   */
  add(events, now) {
    this.#advance(now);
    this.slots[this.second % this.slots.length] += events;
  }

  /** Return the last 60 whole seconds, oldest first, each as events per second; null where it is not known. */
  history(now) {
    this.#advance(now);
    return Array.from({ length: SECONDS }, (_, i) =>
      (this.second - SECONDS + i > this.first ? this.slots[(this.second + 1 + i) % this.slots.length] : null));
  }

  /** Return events per second: the mean of the last three whole seconds; null before these have passed. */
  rate(now) {
    const recent = this.history(now).slice(-MEAN_OVER_S);
    return recent.includes(null) ? null : recent.reduce((sum, events) => sum + events, 0) / MEAN_OVER_S;
  }

  #advance(now) {
    const second = Math.floor(now / 1000);
    this.first ??= second;
    if (this.second === null || second - this.second >= this.slots.length) this.slots.fill(0);
    else for (let s = this.second + 1; s <= second; s += 1) this.slots[s % this.slots.length] = 0;
    this.second = this.second === null ? second : Math.max(this.second, second);
  }
}
