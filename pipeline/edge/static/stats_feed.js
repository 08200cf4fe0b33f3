/**
 * The list of all scans, pushed by the edge. It comes back by itself, over a WebSocket, or over server-sent events where
 * none can be opened.
 *
 * Holds the list as the messages tell it: the whole, then what changed (docs/PROTOCOL.md, "Stream of statistics").
 * Rests while the page is hidden, unless told otherwise: nobody looks, and the edge asks its workers only while somebody
 * does.
 */

import { statsUrl } from "./api.js";
import { TransportChoice } from "./scanstream_rules.js";
import { TRANSPORTS } from "./scanstream_transports.js";
import { session, UNAUTHORISED } from "./session.js";

const RETRY_MS = [200, 500, 1_000, 2_000];
const LOST = 1006;

export class StatsFeed {
  /**
   * @param {object} options
   * @param {(complete: boolean, changed: object[], gone: string[]) => void} options.onChange `scans` has changed: these
   *   entries are new or others, these ids are listed no more; complete false: some worker did not answer
   * @param {() => void} options.onLost the edge does not answer; it is tried again
   * @param {boolean} [options.whileHidden] whether to go on while the page is hidden
   */
  constructor({ onChange, onLost, whileHidden = false }) {
    this.onChange = onChange;
    this.onLost = onLost;
    /** @type {Map<string, {entry: object, at: number}>} scan id -> its entry, and when it came (monotonic milliseconds) */
    this.scans = new Map();
    /** Whether the list was told at all. */
    this.known = false;
    this.classes = { websocket: globalThis.WebSocket, sse: globalThis.EventSource };
    this.choice = new TransportChoice(Boolean(this.classes.websocket), Boolean(this.classes.sse));
    this.connection = null;
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
    if (this.connection !== null || session.isNeeded) return;
    const { token } = session;
    const { kind } = this.choice;
    let connection, wasOpen = false;
    const here = (handle) => (...args) => connection === this.connection && handle(...args);
    const closed = (code) => {
      if (!wasOpen) this.choice.failed();
      if (code === UNAUTHORISED) session.refused(token);
      this.#lost();
    };
    const opened = () => {
      wasOpen = true;
      this.choice.opened();
    };
    try {
      connection = new TRANSPORTS[kind](this.classes[kind], statsUrl(kind), token, {
        open: here(opened),
        message: here((data) => this.#received(JSON.parse(data))),
        closed: here(closed),
      });
      this.connection = connection;
    } catch {
      closed(LOST); // a page that may not open this kind of connection at all
    }
  }

  #rest() {
    clearTimeout(this.timer);
    this.connection?.leave();
    this.connection = null;
  }

  #lost() {
    this.connection = null;
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
