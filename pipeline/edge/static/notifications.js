/**
 * Tells by the browser's notifications what nobody looks at: a scan's end, failure, stall, first critical finding.
 *
 * | what                 | how                                                                                        |
 * |----------------------|--------------------------------------------------------------------------------------------|
 * | asked for            | only when the bell is pressed; the choice is kept in this browser                          |
 * | of which scans       | on the page of a scan: of that one; elsewhere: of any                                      |
 * | when                 | while the page is hidden, or shows a view that is about something else                     |
 * | once                 | a fact has a tag: several pages that tell the same make one notification                   |
 * | what it knows it by  | the statistics, for which it keeps a connection also while the page is hidden              |
 *
 * What a scan says is hostile: a notification is text, its address is made of the scan's id alone.
 */

import { setAttribute, svg } from "./dom.js";
import { plain, plural } from "./format.js";
import { StatsFeed } from "./stats_feed.js";

const CHOICE = "scanstream.notifications";
const MAX_TEXT = 200;
const MAX_TOLD = 1_000; // facts remembered as told; the oldest are forgotten, and their tags still hold
const STATUSES = { completed: "is completed", failed: "has failed", stalled: "stalls", orphaned: "has lost its scanner" };
const BELL = "M8 1.5a1 1 0 0 1 1 1v.6a4 4 0 0 1 3 3.9v3l1.3 2H2.7L4 10V7a4 4 0 0 1 3-3.9v-.6a1 1 0 0 1 1-1zM6.4 13.2h3.2a1.6 1.6 0 0 1-3.2 0z";

export class Notifications {
  /**
   * @param {HTMLButtonElement} bell turns them on and off; hidden where the browser has none
   * @param {() => {scanId: string | null, shows: boolean}} looking the scan whose page is open, or null; whether the
   *   view shows what is told here
   * @param {(text: string) => void} announce says something to a screen reader
   */
  constructor(bell, looking, announce) {
    this.bell = bell;
    this.looking = looking;
    this.announce = announce;
    this.feed = null;
    /** @type {Map<string, {epoch: number, status: string, critical: number}>} what was seen last of each scan */
    this.seen = new Map();
    this.isFirst = true;
    this.told = new Set();
    if (typeof Notification === "undefined" || !window.isSecureContext) return;
    bell.append(svg("svg", { viewBox: "0 0 16 16", width: 18, height: 18, "aria-hidden": "true" }, svg("path", { d: BELL, fill: "currentColor" })));
    bell.addEventListener("click", () => this.#press());
    bell.hidden = false;
    if (remembered() && Notification.permission === "granted") this.#start();
    this.#show();
  }

  async #press() {
    if (this.feed !== null) {
      this.#stop();
      remember(false);
      this.announce("Notifications are off.");
    } else if ((await Notification.requestPermission()) === "granted") {
      remember(true);
      if (this.feed === null) this.#start();
      this.announce("Notifications are on.");
    } else {
      this.announce("The browser does not allow notifications for this page.");
    }
    this.#show();
  }

  #show() {
    const isOn = this.feed !== null;
    const blocked = Notification.permission === "denied";
    setAttribute(this.bell, "aria-pressed", isOn);
    const on = "Notifications are on: press to turn them off";
    const off = "Notify me when a scan ends, fails, stalls, or has its first critical finding";
    setAttribute(this.bell, "title", isOn ? on : blocked ? "Notifications are blocked in the browser's settings" : off);
  }

  #start() {
    this.isFirst = true;
    this.seen.clear();
    this.feed = new StatsFeed({ onChange: (_, changed, gone) => this.#changed(changed, gone), onLost: () => {}, whileHidden: true });
  }

  #stop() {
    this.feed.close();
    this.feed = null;
  }

  #changed(changed, gone) {
    for (const entry of changed) {
      const { scan_id: scanId, epoch, status, totals } = entry;
      const critical = totals?.vulnerabilities?.Critical ?? 0;
      const known = this.seen.get(scanId);
      this.seen.set(scanId, { epoch, status, critical });
      if (this.isFirst) continue; // what was before is no news
      const before = known?.epoch === epoch ? known : { status: "", critical: 0 };
      if (critical > 0 && before.critical === 0) this.#tell(entry, "critical", "has its first critical finding");
      if (status !== before.status && status in STATUSES) this.#tell(entry, status, STATUSES[status]);
    }
    for (const scanId of gone) this.seen.delete(scanId);
    this.isFirst = false;
  }

  #tell({ scan_id: scanId, epoch, totals, error }, fact, text) {
    const { scanId: open, shows } = this.looking();
    if ((open !== null && open !== scanId) || (!document.hidden && shows)) return;
    const tag = `${scanId}:${epoch}:${fact}`;
    if (fact === "critical" || fact === "completed" || fact === "failed") {
      if (this.told.has(tag)) return;
      this.told.add(tag);
      if (this.told.size > MAX_TOLD) this.told.delete(this.told.values().next().value);
    }
    const found = [plural(totals?.hosts ?? 0, "host"), plural(totals?.vulnerabilities?.Critical ?? 0, "critical finding")].join(" · ");
    const body = fact === "failed" && error ? plain(error, MAX_TEXT) : found;
    try {
      const notification = new Notification(`Scan ${scanId} ${text}`, { body, tag });
      notification.onclick = () => {
        window.focus();
        location.hash = `#/scan/${encodeURIComponent(scanId)}`;
        notification.close();
      };
    } catch { // a browser that has them for service workers only
      this.#stop();
      this.bell.hidden = true;
    }
  }
}

function remembered() {
  try {
    return localStorage.getItem(CHOICE) === "on";
  } catch { // storage may be forbidden
    return false;
  }
}

function remember(isOn) {
  try {
    if (isOn) localStorage.setItem(CHOICE, "on");
    else localStorage.removeItem(CHOICE);
  } catch { // then it holds until the page is left
  }
}
