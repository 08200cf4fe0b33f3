/** The figures of a scan: what was found, how fast it comes, and what this page got of it. */

import { h, setAttribute, setText } from "./dom.js";
import { count, duration, rate, SEVERITIES } from "./format.js";
import { Sparkline } from "./sparkline.js";

export class ScanFigures {
  constructor() {
    this.hosts = figure("hosts-count");
    this.ports = figure("ports-count");
    this.services = figure("services-count");
    this.vulnerabilities = figure("vulns-count");
    this.rate = figure("event-rate");
    this.elapsed = figure("elapsed");
    this.spark = new Sparkline();
    this.segments = SEVERITIES.map((severity) => ({
      severity,
      bar: h("span", { class: "segment", "data-severity": severity }),
      number: h("b", { class: "number" }, "0"),
    }));
    this.element = h(
      "section",
      { class: "figures", "aria-label": "Figures" },
      tile("Hosts", this.hosts),
      tile("Open ports", this.ports),
      tile("Services", this.services),
      tile("Vulnerabilities", this.vulnerabilities, this.#severities()),
      tile("Events per second", this.rate, this.spark.element),
      tile("Elapsed", this.elapsed),
    );
    this.element.children[3].classList.add("tile-wide");
  }

  #severities() {
    return h(
      "div",
      { class: "severities" },
      h("div", { class: "stack", "aria-hidden": "true" }, ...this.segments.map(({ bar }) => bar)),
      h("ul", { class: "legend" },
        ...this.segments.map(({ severity, number }) => h("li", { "data-severity": severity }, `${severity} `, number))),
    );
  }

  /** @param {import("./scan_model.js").ScanModel} model */
  update({ book }) {
    setText(this.hosts, count(book.hosts.length));
    setText(this.ports, count(book.openPorts));
    setText(this.services, count(book.services));
    setText(this.vulnerabilities, count(book.vulnerabilities));
    for (const { severity, bar, number } of this.segments) {
      setText(number, count(book.severities[severity]));
      bar.hidden = book.severities[severity] === 0;
      bar.style.flexGrow = String(book.severities[severity]);
    }
  }

  /** What moves with time alone. @param {number | null} elapsedS seconds @param {number} now monotonic milliseconds */
  tick({ meter }, elapsedS, now) {
    setText(this.rate, rate(meter.rate(now)));
    this.spark.draw(meter.history(now));
    setText(this.elapsed, duration(elapsedS));
  }
}

/** What this page received of the scan, for whoever operates the pipeline. */
export class Ledger {
  constructor() {
    this.frames = h("b", { class: "number", testid: "frames-total" });
    this.events = h("b", { class: "number", testid: "events-total" });
    this.merged = h("b", { class: "number", testid: "merged-total" });
    this.filtered = h("b", { class: "number", testid: "filtered-total" });
    this.missed = h("b", { class: "number", testid: "missed-total" });
    this.position = h("b", { class: "number", testid: "position" });
    const entry = (label, value, title) => h("div", { title }, h("dt", {}, label), h("dd", {}, value));
    this.element = h(
      "dl",
      { class: "ledger", "aria-label": "Received by this page" },
      entry("Frames", this.frames, "Messages with events that came"),
      entry("Events", this.events, "Events in them"),
      entry("Merged", this.merged, "Progress reports that a newer one in the same frame made superfluous"),
      entry("Filtered", this.filtered, "Events this page did not ask for"),
      entry("Missed", this.missed, "Events that were left out or lost, as far as anyone told"),
      entry("Position", this.position, "epoch:seq, where this page would resume"),
    );
  }

  /** @param {import("./scan_model.js").ScanModel} model */
  update({ ledger, epoch, seq }) {
    for (const name of ["frames", "events", "merged", "filtered", "missed"]) setText(this[name], count(ledger[name]));
    setAttribute(this.missed, "data-warning", ledger.missed > 0 ? "" : null);
    setText(this.position, epoch === null ? "–" : `${epoch}:${seq}`);
  }
}

function figure(testid) {
  return h("span", { class: "figure number", testid }, "–");
}

function tile(label, value, extra = null) {
  return h("div", { class: "tile" }, h("span", { class: "tile-label" }, label), value, extra);
}
