/** One scan in the list. */

import { h, progressBar, setAttribute, setText } from "./dom.js";
import { count, duration, momentInFull, percent, phaseName, plain, plural, rate, roughly, timeLeft } from "./format.js";
import { isUnderWay } from "./scan_order.js";
import { Sparkline } from "./sparkline.js";

export class ListRow {
  /**
   * @param {string} scanId
   * @param {(scanId: string, now: number) => number[] | null} history events of each of the last seconds; null: none
   */
  constructor(scanId, history) {
    this.scanId = scanId;
    this.history = history;
    this.focusable = h("a", { href: `#/scan/${encodeURIComponent(scanId)}` }, scanId);
    this.name = h("span", { class: "scan-title-text", testid: "name" });
    this.effort = h("span", { class: "tag", hidden: true, title: "Came over plain PUSH: what is lost on the way is not noticed" }, "best effort");
    this.found = h("span", { class: "scan-found", testid: "found" });
    this.status = h("span", { class: "badge", testid: "status" });
    this.phase = h("span", { class: "scan-phase", testid: "phase" });
    this.percent = h("span", { class: "scan-percent number" });
    this.bar = progressBar(`Progress of ${scanId}`);
    this.left = h("span", { class: "scan-left", testid: "time-left" });
    this.spark = new Sparkline();
    this.rate = h("span", { class: "number scan-rate" });
    this.events = h("span", { class: "number" });
    this.elapsed = h("span", { class: "number scan-elapsed" });
    this.element = h(
      "li",
      { class: "scan-row", testid: "scan-row", "data-scan-id": scanId },
      h("span", { class: "scan-name" }, this.focusable, this.name, this.effort, this.found),
      this.status,
      h("span", { class: "scan-progress" }, this.phase, this.percent, this.bar.element, this.left),
      h("span", { class: "scan-pulse" }, this.spark.element, this.rate),
      h("span", { class: "scan-events" }, this.events, this.elapsed),
    );
  }

  /** @param {{entry: object, at: number}} known its entry, and when it came @param {number} now monotonic milliseconds */
  update({ entry, at }, now) {
    const scan = atTime(entry, (now - at) / 1000);
    const underWay = isUnderWay(scan);
    const name = plain(scan.name, 120);
    setText(this.name, name === this.scanId ? "" : name);
    setText(this.status, scan.status);
    setAttribute(this.status, "data-status", scan.status);
    setText(this.phase, scan.status === "completed" ? "done" : phaseName(scan.phase) || "no phase yet");
    this.bar.set(scan.progress, scan.status);
    setText(this.percent, percent(scan.progress));
    setText(this.left, whatIsNext(scan));
    setAttribute(this.left, "data-tone", scan.status === "failed" ? "bad" : scan.status === "stalled" || scan.status === "orphaned" ? "warn" : null);
    setAttribute(this.left, "title", scan.time_left ? timeLeft(scan.time_left) : null);
    setText(this.events, plural(scan.event_count, "event"));
    setText(this.elapsed, duration(scan.elapsed_time));
    setText(this.found, found(scan.totals));
    setAttribute(this.element, "title", about(scan));
    this.effort.hidden = !scan.best_effort;
    setText(this.rate, underWay ? `${rate(scan.events_per_s)}/s` : "");
    const values = underWay ? this.history(scan.scan_id, now) : null;
    this.spark.element.toggleAttribute("hidden", values === null);
    if (values !== null) this.spark.draw(values);
  }
}

/** What was found, each thing once, as the scan's own page counts it. */
export function found({ hosts, open_ports: openPorts, vulnerabilities }) {
  const findings = Object.values(vulnerabilities).reduce((sum, number) => sum + number, 0);
  const parts = [[hosts, "host"], [openPorts, "open port"], [findings, "vulnerability", "vulnerabilities"]];
  return parts.filter(([number]) => number > 0).map((part) => plural(...part)).join(" · ");
}

/** An entry with the time that has passed since it came. */
function atTime(entry, passedS) {
  if (!isUnderWay(entry)) return entry;
  const left = entry.time_left;
  const later = (seconds) => Math.max(0, seconds - passedS);
  return {
    ...entry,
    elapsed_time: entry.elapsed_time + passedS,
    time_left: left && { of: left.of, seconds: later(left.seconds), low: later(left.low), high: later(left.high) },
  };
}

function whatIsNext(scan) {
  if (scan.status === "failed") return plain(scan.error, 200) || "failed";
  if (scan.status === "orphaned") return "its scanner is gone";
  if (scan.status === "stalled") return "no events come";
  if (scan.status !== "running") return "";
  if (scan.finalising) return "finalising";
  if (scan.time_left === null) return timeLeft(null);
  const { of, seconds, low, high } = scan.time_left;
  const range = roughly(low) === roughly(high) ? "" : ` (${roughly(low)} to ${roughly(high)})`;
  return `${roughly(seconds)} left${of === "phase" ? " of this phase" : ""}${range}`;
}

function about(scan) {
  const targets = scan.targets.length ? `Targets: ${plain(scan.targets.join(", "), 200)}` : null;
  const labels = Object.entries(scan.labels).map(([name, value]) => `${plain(name, 40)}=${plain(value, 80)}`);
  const parts = [`Started ${momentInFull(scan.started_at)}`, targets, labels.length ? `Labels: ${labels.slice(0, 8).join(", ")}` : null];
  return parts.filter((part) => part !== null).join("\n");
}

/** The row of sums above the list. */
export class Totals {
  constructor() {
    this.numbers = new Map();
    const tile = (key, label, ...more) => {
      const number = h("span", { class: "total number", testid: `total-${key}` }, "–");
      this.numbers.set(key, number);
      return h("div", { class: "total-tile" }, h("dt", {}, label), h("dd", {}, number, ...more));
    };
    this.spark = new Sparkline();
    this.severe = h("span", { class: "total-marks" });
    this.element = h(
      "dl",
      { class: "totals", testid: "totals", "aria-label": "Totals of the scans shown" },
      tile("scans", "Scans"),
      tile("rate", "Event rate", this.spark.element),
      tile("events", "Events"),
      tile("hosts", "Hosts"),
      tile("ports", "Open ports"),
      tile("vulns", "Vulnerabilities", this.severe),
    );
    this.marks = new Map();
    for (const severity of ["Critical", "High"]) {
      const mark = h("span", { class: "mark", "data-severity": severity, hidden: true });
      this.marks.set(severity, mark);
      this.severe.append(mark);
    }
  }

  /** @param {number} scans how many are shown @param {object} sums as `addUp` makes them @param {number[]} history */
  update(scans, sums, history) {
    const texts = { scans: count(scans), rate: `${rate(sums.perSecond)}/s`, events: count(sums.events), hosts: count(sums.hosts), ports: count(sums.openPorts), vulns: count(sums.vulnerabilities) };
    for (const [key, text] of Object.entries(texts)) setText(this.numbers.get(key), text);
    for (const [severity, mark] of this.marks) {
      const number = sums.severities[severity];
      mark.hidden = number === 0;
      setText(mark, `${count(number)} ${severity.toLowerCase()}`);
    }
    this.spark.draw(history);
  }
}
