/**
 * The list of all scans, pushed by the edge, over a WebSocket that comes back by itself.
 *
 * Holds the list as the messages tell it: the whole, then what changed (docs/PROTOCOL.md, "Stream of statistics").
 * Rests while the page is hidden, unless told otherwise: nobody looks, and the edge asks its workers only while somebody
 * does.
 */

import { session, UNAUTHORISED } from "./session.js";

const RETRY_MS = [200, 500, 1_000, 2_000];

export class StatsFeed {
  /**
   * @param {object} options
   * @param {string} options.url where
   * @param {(complete: boolean, changed: object[], gone: string[]) => void} options.onChange `scans` has changed: these
   *   entries are new or others, these ids are listed no more; complete false: some worker did not answer
   * @param {() => void} options.onLost the edge does not answer; it is tried again
   * @param {boolean} [options.whileHidden] whether to go on while the page is hidden
   */
  constructor({ url, onChange, onLost, whileHidden = false }) {
    this.url = url;
    this.onChange = onChange;
    this.onLost = onLost;
    /** @type {Map<string, {entry: object, at: number}>} scan id -> its entry, and when it came (monotonic milliseconds) */
    this.scans = new Map();
    /** Whether the list was told at all. */
    this.known = false;
    this.socket = null;
    this.timer = null;
    this.attempt = 0;
    this.onVisibility = () => (document.hidden && !whileHidden ? this.#rest() : this.#open());
    this.onSession = () => {
      this.#rest();
      this.onVisibility();
    };
    document.addEventListener("visibilitychange", this.onVisibility);
    session.addEventListener("change", this.onSession);
    this.onVisibility();
  }

  /** Close for good; no callback comes after it. */
  close() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    session.removeEventListener("change", this.onSession);
    this.#rest();
  }

  #open() {
    clearTimeout(this.timer);
    if (this.socket !== null || session.isNeeded) return;
    const { token } = session;
    const socket = new WebSocket(this.url, session.protocols);
    this.socket = socket;
    socket.onmessage = ({ data }) => socket === this.socket && this.#received(JSON.parse(data));
    socket.onclose = ({ code }) => {
      if (socket !== this.socket) return;
      if (code === UNAUTHORISED) session.refused(token);
      this.#lost();
    };
  }

  #rest() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    // A browser reports a socket that is closed while it opens as an error.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(1000);
    else socket?.close(1000);
  }

  #lost() {
    this.socket = null;
    this.timer = setTimeout(() => this.#open(), RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)]);
    this.attempt += 1;
    this.onLost();
  }

  #received({ type, whole, stats, scans, gone }) {
    if (type !== "stats") return;
    this.attempt = 0;
    this.known = true;
    const at = performance.now();
    const before = whole ? [...this.scans.keys()] : [];
    if (whole) this.scans.clear();
    for (const entry of scans) this.scans.set(entry.scan_id, { entry, at });
    for (const scanId of gone) this.scans.delete(scanId);
    this.onChange(stats.complete, scans, whole ? before.filter((scanId) => !this.scans.has(scanId)) : gone);
  }
}
