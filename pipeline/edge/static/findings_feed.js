/**
 * What was found, the latest first: vulnerabilities by severity, and the smaller finds between them.
 *
 * Only as many rows are drawn as are in sight, or were scrolled to. Filters look at what is listed. Paused, the list stays as it is and says what has come meanwhile; everything else on
 * the page goes on.
 */

import { h, setAttribute, setText } from "./dom.js";
import { MAX_FINDINGS } from "./finding_log.js";
import { count, plural, SEVERITIES } from "./format.js";

/** Rows drawn at first, and how many more when the last of them comes into sight. */
const ROWS = 20;

/** What may be chosen of the kinds, by what stands in the address. */
const CHOICES = new Map([
  ["", "all"],
  ["vulnerability", "vulnerabilities"],
  ["enumeration", "enumeration"],
  ["dns", "DNS records"],
  ["subdomain", "subdomains"],
]);
const LABELS = new Map([["dns", "DNS"]]);

export class FindingsFeed {
  /**
   * @param {{severity: string, kind: string, text: string}} chosen what the address says; severities joined by commas, what is unknown is left out
   * @param {() => void} onChoose what is `chosen` has changed
   */
  constructor(chosen, onChoose) {
    this.onChoose = onChoose;
    /** @type {Set<string>} empty: all */
    this.severities = new Set(chosen.severity.split(",").filter((severity) => SEVERITIES.includes(severity)));
    this.log = null;
    this.revision = -1;
    this.knownTotal = 0;
    this.over = null;
    /** @type {{findings: import("./finding_log.js").Finding[], seq: number, came: number} | null} what stood there when it was paused */
    this.paused = null;
    this.rows = new Map();
    this.limit = ROWS;
    this.mark = { from: 0, to: 0 };
    this.total = h("span", { class: "muted", testid: "findings-shown" });
    this.pause = h("button", { class: "button button-small", type: "button", "aria-pressed": "false", testid: "pause" }, "Pause");
    this.pause.addEventListener("click", () => this.#togglePause());
    this.toggles = SEVERITIES.map((severity) => this.#severityToggle(severity));
    this.kind = h("select", { class: "field", "aria-label": "Kind of findings" });
    for (const [value, label] of CHOICES) this.kind.append(h("option", { value }, label));
    this.kind.value = CHOICES.has(chosen.kind) ? chosen.kind : "";
    this.search = h("input", { class: "field", type: "search", placeholder: "Text", "aria-label": "Filter findings", autocomplete: "off", spellcheck: "false" });
    this.search.value = chosen.text;
    this.list = h("ol", { class: "findings", tabindex: 0, "aria-label": "Findings, the latest first" });
    this.rest = h("p", { class: "muted feed-rest", testid: "findings-rest" });
    this.placeholder = h("p", { class: "muted host-placeholder", testid: "no-findings" });
    this.element = h(
      "section",
      { class: "card feed", "aria-label": "Findings" },
      h("header", { class: "card-head" }, h("h2", {}, "Findings"), this.total, h("span", { class: "spring" }), this.pause),
      h("div", { class: "feed-filters" },
        h("div", { class: "toggles", role: "group", "aria-label": "Severities" }, ...this.toggles), this.search, this.kind),
      h("div", { class: "host-frame" }, this.list, this.placeholder),
      this.rest,
    );
    this.list.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.search.addEventListener("input", () => this.#choose());
    this.kind.addEventListener("change", () => this.#choose());
  }

  /** What the address is to say. */
  get chosen() {
    const severity = SEVERITIES.filter((one) => this.severities.has(one)).join(",");
    return { severity, kind: this.kind.value, text: this.search.value.trim() };
  }

  /**
   * Show what there is now.
   *
   * @param {import("./finding_log.js").FindingLog} log
   * @param {number} total how many findings the scan has, as far as known
   * @param {boolean} over there will be no more
   */
  update(log, total, over) {
    if (log !== this.log && this.log !== null && this.paused !== null) this.#resume(); // of another life
    const changed = log !== this.log || log.revision !== this.revision || over !== this.over;
    this.over = over;
    this.log = log;
    this.knownTotal = total;
    if (!changed) return;
    this.revision = log.revision;
    if (this.paused === null) this.#draw();
    else this.#countMissed();
  }

  /** Mark what came while the page did not follow: events after `from`, up to `to`. */
  markMissed({ from, to }) {
    this.mark = { from, to };
    for (const [seq, row] of this.rows) this.#setMark(row, seq);
  }

  #severityToggle(severity) {
    const button = h("button", { class: "toggle", type: "button", "data-severity": severity, "aria-pressed": String(this.severities.has(severity)), title: severity },
      severity);
    button.addEventListener("click", () => {
      if (!this.severities.delete(severity)) this.severities.add(severity);
      setAttribute(button, "aria-pressed", this.severities.has(severity));
      this.#choose();
    });
    return button;
  }

  #choose() {
    if (this.log !== null) this.#draw();
    this.onChoose();
  }

  #passes() {
    const { severities } = this;
    const kind = this.kind.value;
    const needle = this.search.value.trim().toLowerCase();
    return (finding) =>
      (severities.size === 0 || severities.has(finding.severity)) && (kind === "" || finding.kind === kind) && (needle === "" || finding.text.includes(needle));
  }

  #draw() {
    const source = this.paused?.findings ?? this.log.latest(() => true);
    const shown = source.filter(this.#passes());
    const drawn = shown.slice(0, this.limit);
    this.more = shown.length > drawn.length;
    const wanted = new Set(drawn.map(({ seq }) => seq));
    for (const [seq, row] of this.rows) {
      if (wanted.has(seq)) continue;
      row.remove();
      this.rows.delete(seq);
    }
    let place = this.list.firstElementChild;
    for (const finding of drawn) {
      let row = this.rows.get(finding.seq);
      if (row !== undefined && row === place) {
        place = place.nextElementSibling;
        continue;
      }
      if (row === undefined) {
        row = findingRow(finding);
        this.#setMark(row, finding.seq);
        this.rows.set(finding.seq, row);
      }
      this.list.insertBefore(row, place);
    }
    this.#sayShown(shown.length, source.length);
  }

  /** Draw more rows before the end is reached; back at the top no more than are needed there. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    if (scrollTop === 0) this.limit = ROWS;
    else if (this.more && scrollTop + 2 * clientHeight > scrollHeight) {
      this.limit += ROWS;
      this.#draw();
    }
  }

  #sayShown(shown, listed) {
    const of = this.knownTotal > listed ? `latest ${count(listed)}` : count(listed);
    setText(this.total, shown < listed ? `${count(shown)} of ${of}` : of);
    setText(this.rest, this.knownTotal > listed
      ? `${plural(this.knownTotal - listed, "earlier finding")} not listed here; vulnerabilities stand with their hosts.` : "");
    setText(this.placeholder, listed === 0 ? (this.over ? "No findings." : "Nothing found yet.") : "No finding matches this filter.");
    this.placeholder.hidden = shown > 0;
  }

  #setMark(row, seq) {
    setAttribute(row, "data-missed", seq > this.mark.from && seq <= this.mark.to ? "" : null);
  }

  // --- pausing ----------------------------------------------------------------------------------

  #togglePause() {
    if (this.paused !== null) {
      this.#resume();
      if (this.log !== null) this.#draw();
      return;
    }
    const findings = this.log?.latest(() => true) ?? [];
    this.paused = { findings, seq: findings[0]?.seq ?? 0 };
    setAttribute(this.pause, "aria-pressed", true);
    setText(this.pause, "Resume");
    this.#countMissed();
  }

  #resume() {
    this.paused = null;
    setAttribute(this.pause, "aria-pressed", false);
    setText(this.pause, "Pause");
  }

  #countMissed() {
    const came = this.log?.latest(({ seq }) => seq > this.paused.seq).length ?? 0;
    setText(this.pause, came === 0 ? "Resume" : `Resume (${came >= MAX_FINDINGS ? `${came} or more` : count(came)} new)`);
  }
}

/** @param {import("./finding_log.js").Finding} finding */
function findingRow({ seq, kind, severity, title, detail, where }) {
  const label = severity || (kind === "enumeration" && detail) || LABELS.get(kind) || kind;
  const rest = [where, title.includes(detail) || label === detail ? "" : detail].filter(Boolean).join(" · ");
  return h(
    "li",
    { class: "finding", testid: "finding-row", "data-severity": severity || "none", "data-seq": seq },
    h("span", { class: "severity", "data-severity": severity || "none" }, label),
    h("span", { class: "finding-title" }, title || "(untitled)"),
    h("span", { class: "finding-where" }, rest),
    h("span", { class: "finding-seq number", title: "sequence number in this scan" }, `#${seq}`),
  );
}
