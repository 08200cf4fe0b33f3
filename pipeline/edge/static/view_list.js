/** The list of scans: what somebody should look at first, then what runs, then the newest. */

import { rewriteQuery } from "./address.js";
import { h, setText } from "./dom.js";
import { count } from "./format.js";
import { ListRow, Totals } from "./list_row.js";
import { ListToolbar } from "./list_toolbar.js";
import { RateMeter } from "./rate_meter.js";
import { addUp, arrange, ORDERS } from "./scan_order.js";
import { StatsFeed } from "./stats_feed.js";
import { WindowedRows } from "./windowed_rows.js";

const TICK_MS = 1_000; // times run on, and rates fall, also when nothing changes
const LIVELY_MS = 2_000; // rows that changed places with every event could not be read
const SAID_AT_ONCE = 3;
const EXAMPLE = "nmap -sT -sV -p 1-1000 127.0.0.1 -oX - --stats-every 1s | bin/emit --from nmap --scan demo";

export class ListView {
  /**
   * @param {(text: string) => void} announce says a change to a screen reader
   * @param {URLSearchParams} query what the address says: `q`, `status`, `sort`
   */
  constructor(announce, query) {
    this.announce = announce;
    this.title = "Scans · scanstream";
    this.order = [];
    this.arrangedAt = -Infinity;
    this.isStale = true;
    this.drawing = null;
    /** @type {Map<string, {status: string, epoch: number, events: number, meter: RateMeter | null}>} what was seen last */
    this.seen = new Map();
    this.meter = new RateMeter();
    this.summary = h("p", { class: "summary", testid: "summary" });
    this.banner = h("p", { class: "banner", hidden: true });
    this.toolbar = new ListToolbar(query, () => this.#choose());
    this.totals = new Totals();
    this.list = h("ul", { class: "scans", testid: "scan-list", "aria-label": "Scans" });
    this.rows = new WindowedRows(this.list, (scanId) => new ListRow(scanId, (id, now) => this.#history(id, now)), ({ entry }) => entry.scan_id);
    this.nothing = h("p", { class: "empty", hidden: true, testid: "nothing-found" }, "No scan matches.");
    this.element = h(
      "div",
      { class: "page list-page is-unknown" },
      h("div", { class: "page-head" }, h("h1", {}, "Scans"), this.summary),
      this.banner,
      this.totals.element,
      this.toolbar.element,
      columnHeads(),
      this.list,
      this.nothing,
      emptyState(),
    );
    this.feed = new StatsFeed({
      onChange: (complete, changed, gone) => {
        this.#setBanner(complete ? "" : "A worker did not answer: scans may be missing here.");
        this.#notice(changed, gone);
        this.isStale = true;
        this.#drawSoon();
      },
      onLost: () => this.#setBanner(`The edge does not answer. ${this.feed.scans.size ? "This is what was last known." : "Trying again."}`),
    });
    this.timer = setInterval(() => this.#drawSoon(), TICK_MS);
    this.onKey = (event) => this.#key(event);
    document.addEventListener("keydown", this.onKey);
  }

  close() {
    clearInterval(this.timer);
    cancelAnimationFrame(this.drawing);
    document.removeEventListener("keydown", this.onKey);
    this.feed.close();
    this.rows.close();
  }

  #setBanner(text) {
    if (text && this.banner.textContent !== text) this.announce(text);
    setText(this.banner, text);
    this.banner.hidden = text === "";
  }

  /** "/" goes to the search, as in many a list. */
  #key(event) {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    this.toolbar.search.focus();
  }

  #choose() {
    rewriteQuery(this.toolbar.query);
    this.arrangedAt = -Infinity;
    this.isStale = true;
    this.#draw();
  }

  /** Take in what changed: events of the last minute, and statuses to be said. */
  #notice(changed, gone) {
    const now = performance.now();
    const told = [];
    for (const { scan_id: scanId, status, epoch, event_count: events } of changed) {
      const before = this.seen.get(scanId);
      let meter = before?.meter ?? null;
      const came = before === undefined ? 0 : epoch === before.epoch ? Math.max(0, events - before.events) : events;
      if (came > 0) {
        meter ??= new RateMeter();
        meter.add(came, now);
        this.meter.add(came, now);
      }
      if (before !== undefined && before.status !== status) told.push(`Scan ${scanId}: ${status}`);
      this.seen.set(scanId, { status, epoch, events, meter });
    }
    for (const scanId of gone) this.seen.delete(scanId);
    if (told.length > 0) this.announce(told.length <= SAID_AT_ONCE ? told.join(". ") : `${count(told.length)} scans changed`);
  }

  #history(scanId, now) {
    return this.seen.get(scanId)?.meter?.history(now) ?? null;
  }

  #drawSoon() {
    if (document.hidden) return;
    this.drawing ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.drawing);
    this.drawing = null;
    if (!this.feed.known) return;
    const now = performance.now();
    const { wanted } = this.toolbar;
    if (this.isStale && (!ORDERS.get(wanted.order).lively || now - this.arrangedAt >= LIVELY_MS)) {
      this.isStale = false;
      this.arrangedAt = now;
      const { shown, statuses } = arrange(entries(this.feed.scans), wanted);
      this.order = shown.map((scan) => scan.scan_id);
      this.toolbar.update(statuses);
      setText(this.summary, summaryText(statuses));
    }
    const shown = this.order.map((scanId) => this.feed.scans.get(scanId)).filter((known) => known !== undefined);
    this.totals.update(shown.length, addUp(shown.map(({ entry }) => entry)), this.meter.history(now));
    this.rows.show(shown, now);
    const all = this.feed.scans.size;
    this.element.classList.remove("is-unknown");
    this.element.classList.toggle("is-empty", all === 0);
    this.nothing.hidden = all === 0 || shown.length > 0;
  }
}

function* entries(scans) {
  for (const { entry } of scans.values()) yield entry;
}

/** "2 running · 3 completed": what there is, and always these three. */
function summaryText(statuses) {
  const parts = [];
  for (const [status, always] of [["orphaned", false], ["stalled", false], ["running", true], ["completed", true], ["failed", true]]) {
    const number = statuses.get(status) ?? 0;
    if (always || number > 0) parts.push(`${count(number)} ${status}`);
  }
  return parts.join(" · ");
}

function columnHeads() {
  const heads = ["Scan", "Status", "Phase and progress", "Event rate", "Events"];
  return h("div", { class: "scan-row scan-heads", "aria-hidden": "true" }, ...heads.map((head) => h("span", {}, head)));
}

function emptyState() {
  return h(
    "section",
    { class: "empty list-empty", testid: "empty" },
    h("h2", {}, "No scans yet"),
    h("p", {}, "Start one from the checkout; it shows up here at once:"),
    h("pre", { tabindex: 0, "aria-label": "Example command" }, h("code", {}, EXAMPLE)),
  );
}
