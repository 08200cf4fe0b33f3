/** One scan, as it happens: ties the client, the model and the parts of the page together. */

import { fetchScans } from "./api.js";
import { h, setText } from "./dom.js";
import { FindingsFeed } from "./findings_feed.js";
import { percent, plural } from "./format.js";
import { HostTable } from "./host_table.js";
import { Ledger, ScanFigures } from "./scan_figures.js";
import { ScanHeader } from "./scan_header.js";
import { ScanModel } from "./scan_model.js";
import { ScanStream } from "./scanstream.js";

const TICK_MS = 1_000;
const ASK_AGE_AGAIN_MS = 5_000;

export class ScanView {
  /**
   * @param {string} scanId
   * @param {(text: string) => void} announce says a change to a screen reader
   */
  constructor(scanId, announce) {
    this.scanId = scanId;
    this.announce = announce;
    this.model = new ScanModel();
    this.state = { name: "connecting", reason: "", retryAt: null };
    this.said = { status: "waiting", connection: "connecting" };
    /** @type {{age: number, asked: number, ticking: boolean} | null} the scan's seconds when the edge was asked, and when that was */
    this.clock = null;
    this.clockFor = null;
    this.askAgainAt = -Infinity;
    this.asking = new AbortController();

    this.header = new ScanHeader(scanId, () => this.stream.retryNow());
    this.figures = new ScanFigures();
    this.table = new HostTable();
    this.feed = new FindingsFeed();
    this.notices = new Notices();
    this.ledger = new Ledger();
    this.element = h(
      "div",
      { class: "page" },
      h("nav", { "aria-label": "Back" }, h("a", { class: "back", href: "#/" }, "← All scans")),
      this.header.element,
      this.figures.element,
      h("div", { class: "columns" }, this.table.element, this.feed.element),
      this.notices.element,
      this.ledger.element,
    );

    this.scanId = scanId;
    this.stream = this.#newStream();
    this.onVisibility = () => {
      if (!document.hidden) this.#draw();
    };
    document.addEventListener("visibilitychange", this.onVisibility);
    this.timer = setInterval(() => this.#tick(), TICK_MS);
    this.#draw();
    this.stream.open();
  }

  get title() {
    const { status, progress } = this.model;
    const state = status === "running" ? percent(progress) : status;
    return `${state} · ${this.scanId} · scanstream`;
  }

  close() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.asking.abort();
    this.stream.close();
    this.table.close();
  }

  #newStream() {
    return new ScanStream({
      scanId: this.scanId,
      onMessages: (messages) => this.#apply(messages),
      onState: (state) => this.#connectionState(state),
    });
  }

  #apply(messages) {
    const now = performance.now();
    for (const message of messages) {
      if (message.type === "snapshot") {
        // The position was not held any more. This view is built from events alone: all of them, then.
        this.stream.close();
        this.stream = this.#newStream();
        this.stream.open();
        return;
      }
      this.model.apply(message, now);
    }
    this.#askAge();
    this.#sayStatus();
    document.title = this.title;
    if (!document.hidden) this.#draw();
  }

  #connectionState(state) {
    this.state = state;
    this.header.update(this.model, state.name === "ended");
    this.header.connectionState(state, this.model.degraded, performance.now());
    // A first connection that works is what everyone expects; only what departs from it is said.
    if (state.name !== "connecting" && state.name !== this.said.connection) {
      if (!(state.name === "live" && this.said.connection === "connecting")) this.announce(`Connection: ${state.name} ${state.reason}`.trim());
      this.said.connection = state.name;
    }
  }

  #sayStatus() {
    const { status, errorMessage } = this.model;
    if (status === this.said.status) return;
    this.said.status = status;
    this.announce(`Scan ${this.scanId}: ${status}${errorMessage ? `, ${errorMessage}` : ""}`);
  }

  #draw() {
    const now = performance.now();
    this.header.update(this.model, this.state.name === "ended");
    this.header.connectionState(this.state, this.model.degraded, now);
    this.figures.update(this.model);
    this.table.update(this.model.book, now);
    this.feed.update(this.model);
    this.notices.update(this.model);
    this.ledger.update(this.model);
    this.#tick();
  }

  #tick() {
    if (document.hidden) return;
    const now = performance.now();
    this.figures.tick(this.model, this.#elapsed(now), now);
    this.header.connectionState(this.state, this.model.degraded, now);
    // In other orders than arrival the table follows at its own pace: the last change may still be due.
    this.table.update(this.model.book, now);
    this.#askAge();
  }

  /** Seconds the scan runs or ran; null while nobody said. */
  #elapsed(now) {
    const { duration, finished } = this.model;
    if (finished && duration !== null) return duration;
    if (this.clock === null) return null;
    return this.clock.age + (this.clock.ticking ? (now - this.clock.asked) / 1000 : 0);
  }

  /** Ask the edge how old the scan is: once when it is seen, once more when it ends. A browser's own clock may be wrong. */
  async #askAge() {
    const { epoch, finished } = this.model;
    const about = epoch === null ? null : `${epoch} ${finished}`;
    const asked = performance.now();
    if (about === this.clockFor || asked < this.askAgainAt) return;
    this.clockFor = about;
    if (about === null) {
      this.clock = null;
      return;
    }
    let scan;
    try {
      const { scans } = await fetchScans(this.asking.signal);
      scan = scans.find((one) => one.scan_id === this.scanId);
    } catch {
      // The figure stays as it is until the next try: everything else comes over the WebSocket.
    }
    if (this.asking.signal.aborted || about !== this.clockFor) return;
    if (scan === undefined) {
      this.clockFor = null;
      this.askAgainAt = performance.now() + ASK_AGE_AGAIN_MS;
      return;
    }
    this.clock = { age: scan.elapsed_time, asked, ticking: !finished && scan.status === "running" };
    this.#tick();
  }
}

/** What went wrong or is worth knowing beside the findings; hidden while there is nothing. */
class Notices {
  constructor() {
    this.lastId = 0;
    this.count = h("span", { class: "muted" });
    this.list = h("ol", { class: "notices" });
    this.element = h("section", { class: "card", "aria-label": "Notices", testid: "notices", hidden: true },
      h("header", { class: "card-head" }, h("h2", {}, "Notices"), this.count), this.list);
  }

  update({ notices, noticeCount }) {
    if (noticeCount === this.lastId) return;
    this.lastId = noticeCount;
    setText(this.count, noticeCount > notices.length ? `latest ${notices.length} of ${plural(noticeCount, "notice")}` : "");
    this.list.replaceChildren(...notices.toReversed().map(({ level, text }) => h("li", { class: "notice", "data-level": level }, text)));
    this.element.hidden = false;
  }
}
