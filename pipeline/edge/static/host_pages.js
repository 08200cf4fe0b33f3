/**
 * Fetches the hosts that did not fit into a snapshot, a page at a time, while everything else goes on.
 *
 * One request at a time, the next one when the browser has nothing better to do; what fails is tried again, later and
 * later. Stops by itself when a page is of another life of the scan: its snapshot begins anew.
 */

import { fetchHosts } from "./api.js";

const RETRY_MS = [1_000, 3_000, 10_000, 30_000];
/** So long a page waits for an idle moment at most. */
const IDLE_WITHIN_MS = 200;

export class HostPages {
  /**
   * @param {string} scanId
   * @param {(page: object, after: number) => void} onPage given each page, in order; the last one has `next` null
   */
  constructor(scanId, onPage) {
    this.scanId = scanId;
    this.onPage = onPage;
    this.timer = null;
    this.asking = null;
  }

  /** Whether pages are still to come. */
  get busy() {
    return this.asking !== null;
  }

  /** Fetch from here on; what was under way is given up. @param {number} after @param {number} epoch */
  start(after, epoch) {
    this.stop();
    this.asking = new AbortController();
    this.#fetch(after, epoch, 0, this.asking.signal);
  }

  stop() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
  }

  async #fetch(after, epoch, attempt, signal) {
    let page;
    try {
      page = await fetchHosts(this.scanId, after, signal);
    } catch {
      if (signal.aborted) return;
      this.timer = setTimeout(() => this.#fetch(after, epoch, attempt + 1, signal), RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      return;
    }
    if (signal.aborted) return;
    if (page.epoch !== epoch) {
      this.stop();
      return;
    }
    if (page.next === null) this.stop();
    this.onPage(page, after);
    if (page.next !== null && !signal.aborted) whenIdle(() => !signal.aborted && this.#fetch(page.next, epoch, 0, signal));
  }
}

function whenIdle(step) {
  if (globalThis.requestIdleCallback) requestIdleCallback(step, { timeout: IDLE_WITHIN_MS });
  else setTimeout(step, IDLE_WITHIN_MS);
}
