/** The figures of a scan: what was found, how fast it comes, and what this page got of it. */

import { h, setAttribute, setText } from "./dom.js";
import { count, duration, rate, SEVERITIES } from "./format.js";
import { paceText } from "./own_pace.js";
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
  update({ totals }) {
    const { hosts, openPorts, services, severities, exact } = totals;
    const most = exact ? "" : "+"; // the least there are
    setText(this.hosts, count(hosts) + most);
    setText(this.ports, count(openPorts) + most);
    setText(this.services, count(services) + most);
    setText(this.vulnerabilities, count(severities.reduce((sum, number) => sum + number, 0)) + most);
    this.segments.forEach(({ bar, number }, i) => {
      setText(number, count(severities[i]));
      bar.hidden = severities[i] === 0;
      bar.style.flexGrow = String(severities[i]);
    });
  }

  /** What moves with time alone. @param {import("./scan_model.js").ScanModel} model @param {number} now monotonic milliseconds */
  tick({ meter, saidPerS, progress }, now) {
    setText(this.rate, rate(meter.rate(now) ?? saidPerS));
    this.spark.draw(meter.history(now));
    setText(this.elapsed, duration(progress.elapsed(now)));
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
    this.inSnapshot = h("b", { class: "number", testid: "snapshot-total" });
    this.pace = h("b", { class: "number", testid: "pace" });
    this.position = h("b", { class: "number", testid: "position" });
    const entry = (label, value, title) => h("div", { title }, h("dt", {}, label), h("dd", {}, value));
    this.element = h(
      "dl",
      { class: "ledger", "aria-label": "Received by this page" },
      entry("In snapshot", this.inSnapshot, "Events in the state this page began with"),
      entry("Frames", this.frames, "Messages with events that came"),
      entry("Events", this.events, "Events in them"),
      entry("Merged", this.merged, "Progress reports that a newer one in the same frame made superfluous"),
      entry("Filtered", this.filtered, "Events this page did not ask for"),
      entry("Missed", this.missed, "Events that were left out or lost, as far as anyone told"),
      entry("Pace", this.pace, "Frames a second the server gives this page at most: fewer, larger ones when it does not keep up"),
      entry("Position", this.position, "epoch:seq, where this page would resume"),
    );
  }

  /** @param {import("./scan_model.js").ScanModel} model @param {number} perS frames a second this page is given at most */
  update({ ledger, epoch, seq }, perS) {
    for (const name of ["inSnapshot", "frames", "events", "merged", "filtered", "missed"]) setText(this[name], count(ledger[name]));
    setAttribute(this.missed, "data-warning", ledger.missed > 0 ? "" : null);
    setText(this.pace, paceText(perS));
    setAttribute(this.pace, "data-warning", perS < 10 ? "" : null);
    setText(this.position, epoch === null ? "–" : `${epoch}:${seq}`);
  }
}

function figure(testid) {
  return h("span", { class: "figure number", testid }, "–");
}

function tile(label, value, extra = null) {
  return h("div", { class: "tile" }, h("span", { class: "tile-label" }, label), value, extra);
}
