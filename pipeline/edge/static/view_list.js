/** The list of scans: what runs now first, then the newest. */

import { statsSocketUrl } from "./api.js";
import { h, progressBar, setAttribute, setText } from "./dom.js";
import { count, duration, percent, phaseName, plain, plural, rate } from "./format.js";
import { StatsFeed } from "./stats_feed.js";

const DRAW_MS = 1_000; // times run on, and rates fall, also when nothing changes
const ROWS_AT_FIRST = 200;
const EXAMPLE = "nmap -sT -sV -p 1-1000 127.0.0.1 -oX - --stats-every 1s | bin/emit --from nmap --scan demo";

export class ListView {
  /** @param {(text: string) => void} announce says a change to a screen reader */
  constructor(announce) {
    this.announce = announce;
    this.rows = new Map();
    this.statuses = new Map();
    this.limit = ROWS_AT_FIRST;
    this.scans = [];
    this.summary = h("p", { class: "summary", testid: "summary" });
    this.banner = h("p", { class: "banner", hidden: true });
    this.list = h("ul", { class: "scans", testid: "scan-list", "aria-label": "Scans" });
    this.more = h("button", { class: "button more", type: "button", hidden: true });
    this.more.addEventListener("click", () => {
      this.limit += ROWS_AT_FIRST;
      this.#draw();
    });
    this.empty = emptyState();
    this.element = h(
      "div",
      { class: "page list-page" },
      h("div", { class: "page-head" }, h("h1", {}, "Scans"), this.summary),
      this.banner,
      columnHeads(),
      this.list,
      this.more,
      this.empty,
    );
    this.title = "Scans · scanstream";
    this.feed = new StatsFeed({
      url: statsSocketUrl(),
      onChange: (complete) => {
        this.#setBanner(complete ? "" : "A worker did not answer: scans may be missing here.");
        this.#draw();
      },
      onLost: () => this.#setBanner(`The edge does not answer. ${this.scans.length ? "This is what was last known." : "Trying again."}`),
    });
    this.timer = setInterval(() => this.#draw(), DRAW_MS);
  }

  close() {
    clearInterval(this.timer);
    this.feed.close();
  }

  #setBanner(text) {
    if (text && this.banner.textContent !== text) this.announce(text);
    setText(this.banner, text);
    this.banner.hidden = text === "";
  }

  #draw() {
    if (!this.feed.known) return;
    const now = performance.now();
    this.scans = [...this.feed.scans.values()].map((known) => atTime(known, now)).sort(byImportance);
    const shown = this.scans.slice(0, this.limit);
    const gone = new Set(this.rows.keys());
    let place = this.list.firstElementChild;
    for (const scan of shown) {
      gone.delete(scan.scan_id);
      const row = this.rows.get(scan.scan_id) ?? this.#add(scan.scan_id);
      row.update(scan, now);
      if (row.element === place) place = place.nextElementSibling;
      else this.list.insertBefore(row.element, place);
    }
    for (const scanId of gone) {
      this.rows.get(scanId).element.remove();
      this.rows.delete(scanId);
    }
    this.#announceChanges();
    this.element.classList.toggle("is-empty", this.scans.length === 0);
    this.more.hidden = this.scans.length <= this.limit;
    setText(this.more, `Show more (${plural(this.scans.length - shown.length, "scan")} further down)`);
    setText(this.summary, this.#summaryText());
  }

  #add(scanId) {
    const row = new ScanRow(scanId);
    this.rows.set(scanId, row);
    return row;
  }

  #summaryText() {
    const of = (status) => this.scans.filter((scan) => scan.status === status).length;
    const perSecond = [...this.rows.values()].reduce((sum, row) => sum + row.perSecond, 0);
    return `${count(of("running"))} running · ${count(of("completed"))} completed · ${count(of("failed"))} failed · ${rate(perSecond)} events/s`;
  }

  #announceChanges() {
    const statuses = new Map(this.scans.map((scan) => [scan.scan_id, scan.status]));
    for (const [scanId, status] of statuses) {
      const before = this.statuses.get(scanId);
      if (before !== undefined && before !== status) this.announce(`Scan ${scanId}: ${status}`);
    }
    this.statuses = statuses;
  }
}

class ScanRow {
  constructor(scanId) {
    this.perSecond = 0;
    this.last = null;
    this.status = h("span", { class: "badge", testid: "status" });
    this.phase = h("span", { class: "scan-phase", testid: "phase" });
    this.bar = progressBar(`Progress of ${scanId}`);
    this.percent = h("span", { class: "scan-percent number" });
    this.events = h("span", { class: "number" });
    this.rate = h("span", { class: "number scan-rate" });
    this.elapsed = h("span", { class: "number scan-elapsed" });
    this.found = h("span", { class: "scan-found", testid: "found" });
    this.effort = h("span", { class: "tag", hidden: true, title: "Came over plain PUSH: what is lost on the way is not noticed" }, "best effort");
    this.element = h(
      "li",
      { class: "scan-row", testid: "scan-row", "data-scan-id": scanId },
      h("span", { class: "scan-name" }, h("a", { href: `#/scan/${encodeURIComponent(scanId)}` }, scanId), this.effort, this.found),
      this.status,
      h("span", { class: "scan-progress" }, this.phase, this.percent, this.bar.element),
      h("span", { class: "scan-events" }, this.events, this.rate),
      this.elapsed,
    );
  }

  update(scan, now) {
    setText(this.status, scan.status);
    setAttribute(this.status, "data-status", scan.status);
    setText(this.phase, scan.status === "completed" ? "done" : phaseName(scan.phase) || "no phase yet");
    this.bar.set(scan.progress, scan.status);
    setText(this.percent, percent(scan.progress));
    setText(this.events, plural(scan.event_count, "event"));
    setText(this.elapsed, duration(scan.elapsed_time));
    setText(this.found, found(scan.totals));
    setAttribute(this.element, "title", scan.started_at ? `Started ${plain(scan.started_at)}` : null);
    this.effort.hidden = !scan.best_effort;
    this.#measure(scan, now);
    setText(this.rate, scan.status === "running" ? `${rate(this.perSecond)}/s` : "");
  }

  /** Events per second since the last answer, smoothed; a new epoch counts from its own beginning. */
  #measure({ epoch, event_count: events }, now) {
    const { last } = this;
    if (last !== null && now > last.now) {
      const came = epoch === last.epoch ? Math.max(0, events - last.events) : events;
      const perSecond = (came * 1000) / (now - last.now);
      this.perSecond = came === 0 && this.perSecond < 0.5 ? 0 : 0.5 * this.perSecond + 0.5 * perSecond;
    }
    this.last = { now, epoch, events };
  }
}

/** What was found, each thing once, as the scan's own page counts it. */
function found({ hosts, open_ports: openPorts, vulnerabilities }) {
  const findings = Object.values(vulnerabilities).reduce((sum, number) => sum + number, 0);
  const parts = [[hosts, "host"], [openPorts, "open port"], [findings, "vulnerability", "vulnerabilities"]];
  return parts.filter(([number]) => number > 0).map((part) => plural(...part)).join(" · ");
}

/** An entry with the time that has passed since it came. */
function atTime({ entry, at }, now) {
  return entry.status === "running" ? { ...entry, elapsed_time: entry.elapsed_time + (now - at) / 1000 } : entry;
}

function byImportance(a, b) {
  const running = Number(b.status === "running") - Number(a.status === "running");
  return running || (b.started_at ?? "").localeCompare(a.started_at ?? "") || a.scan_id.localeCompare(b.scan_id);
}

function columnHeads() {
  const heads = ["Scan", "Status", "Phase and progress", "Events", "Elapsed"];
  return h("div", { class: "scan-row scan-heads", "aria-hidden": "true" }, ...heads.map((head) => h("span", {}, head)));
}

function emptyState() {
  return h(
    "section",
    { class: "empty", testid: "empty" },
    h("h2", {}, "No scans yet"),
    h("p", {}, "Start one from the checkout; it shows up here at once:"),
    h("pre", { tabindex: 0, "aria-label": "Example command" }, h("code", {}, EXAMPLE)),
  );
}
