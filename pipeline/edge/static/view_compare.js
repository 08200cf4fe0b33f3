/** Two scans side by side: what is new, gone or changed since the earlier one. */

import { h, setText } from "./dom.js";
import { count, moment, momentInFull, plain, plural } from "./format.js";
import { fetchComparison, fetchPast, readReference } from "./past_api.js";

const ROWS_AT_FIRST = 200;
const TARGETS_SHOWN = 4;
const MARKS = { new: "+", gone: "−", changed: "~" };
const THINGS = [["hosts", "Hosts"], ["ports", "Open ports"], ["services", "Services"], ["vulnerabilities", "Vulnerabilities"]];

export class CompareView {
  /**
   * @param {string} scan `ID` or `ID@EPOCH`
   * @param {string | null} other the earlier one; null for the latest of the same targets
   * @param {(text: string) => void} announce says a change to a screen reader
   */
  constructor(scan, other, announce) {
    this.scan = scan;
    this.other = other;
    this.announce = announce;
    this.title = `Changes · ${readReference(scan)[0]} · scanstream`;
    this.asking = new AbortController();
    this.limit = ROWS_AT_FIRST;
    this.shown = new Set(Object.keys(MARKS));
    this.subject = h("p", { class: "summary", testid: "compare-subject" }, "comparing …");
    this.banner = h("p", { class: "banner", hidden: true, role: "alert", testid: "compare-problem" });
    this.choice = h("select", { class: "field", id: "compare-with", testid: "compare-with" });
    this.choice.addEventListener("change", () => {
      location.hash = `#/compare/${encodeURIComponent(scan)}/${encodeURIComponent(this.choice.value)}`;
    });
    this.choosing = h("span", { class: "compare-choice", hidden: true }, h("label", { for: "compare-with" }, "Compared with "), this.choice);
    this.counts = h("div", { class: "compare-counts", testid: "compare-counts" });
    this.filters = h("fieldset", { class: "compare-filters", hidden: true }, h("legend", { class: "visually-hidden" }, "Show hosts that are"),
      ...Object.keys(MARKS).map((change) => this.#filter(change)));
    this.list = h("ul", { class: "compare-list", "aria-label": "Hosts that differ", testid: "compare-list" });
    this.more = h("button", { class: "button more", type: "button", hidden: true });
    this.more.addEventListener("click", () => {
      this.limit += ROWS_AT_FIRST;
      this.#draw();
    });
    this.element = h("div", { class: "page compare-page" },
      h("nav", { "aria-label": "Back" }, h("a", { class: "back", href: "#/past" }, "← Past scans")),
      h("div", { class: "page-head" }, h("h1", {}, "Changes"), this.subject, h("span", { class: "spring" }), this.choosing),
      this.banner, this.counts, this.filters, this.list, this.more);
    this.found = null;
    this.#load();
  }

  close() {
    this.asking.abort();
  }

  #filter(change) {
    const box = h("input", { type: "checkbox", checked: true, testid: `show-${change}` });
    box.addEventListener("change", () => {
      if (box.checked) this.shown.add(change);
      else this.shown.delete(change);
      this.limit = ROWS_AT_FIRST;
      this.#draw();
    });
    return h("label", {}, box, ` ${change}`);
  }

  async #load() {
    const { signal } = this.asking;
    try {
      this.found = await fetchComparison(this.scan, this.other, signal);
    } catch (error) {
      if (signal.aborted) return;
      setText(this.subject, readReference(this.scan)[0]);
      setText(this.banner, error.message);
      this.banner.hidden = false;
      this.#offer(signal, null);
      return;
    }
    const { scan, with: before, same_targets: same, partial } = this.found;
    this.subject.replaceChildren(name(scan), " since ", name(before));
    const warnings = [];
    if (!same) warnings.push(`Scope differs: now ${targets(scan)}; before ${targets(before)}.`);
    if (partial) warnings.push("A scan has more than its tables hold; that part is not compared.");
    setText(this.banner, warnings.join(" "));
    this.banner.hidden = warnings.length === 0;
    this.counts.replaceChildren(...THINGS.map(([thing, title]) => tile(title, this.found.counts[thing])));
    this.filters.hidden = false;
    this.#draw();
    this.announce(`${plural(this.found.changes.length + this.found.left_out, "host")} differ`);
    this.#offer(signal, before);
  }

  /** Offer other scans to compare with: those of the same id or name or targets first would need all of them; so the latest. */
  async #offer(signal, before) {
    let scans;
    try {
      ({ scans } = await fetchPast("", null, signal));
    } catch {
      return; // there is still the comparison itself
    }
    if (signal.aborted) return;
    const chosen = before === null ? null : `${before.scan_id}@${before.epoch}`;
    const options = scans.map((scan) => [`${scan.scan_id}@${scan.epoch}`, scan]).filter(([value]) => value !== this.scan && value !== chosen);
    if (before !== null) options.unshift([chosen, before]);
    if (options.length < 2 && before !== null) return;
    if (options.length === 0) return;
    const first = before === null ? [h("option", { value: "", disabled: true, selected: true }, "choose a scan")] : [];
    this.choice.replaceChildren(...first, ...options.map(([value, scan]) =>
      h("option", { value, selected: value === chosen }, `${plain(scan.scan_id, 40)} · ${moment(scan.started_at)}`)));
    this.choosing.hidden = false;
  }

  #draw() {
    const changes = this.found.changes.filter(({ change }) => this.shown.has(change));
    this.list.replaceChildren(...changes.slice(0, this.limit).map(hostRow));
    if (changes.length === 0) this.list.append(h("li", { class: "empty" }, this.found.changes.length ? "Nothing of what is chosen." : "Nothing has changed."));
    this.more.hidden = changes.length <= this.limit;
    setText(this.more, `Show more (${count(changes.length - this.limit)} further down)`);
    if (this.found.left_out && changes.length <= this.limit) {
      this.list.append(h("li", { class: "muted" }, `${plural(this.found.left_out, "more host")} differ; they are counted above.`));
    }
  }
}

function targets({ targets: listed, targets_left_out: leftOut = 0 }) {
  const texts = (Array.isArray(listed) ? listed : []).map((target) => plain(target, 60));
  const more = Math.max(0, texts.length - TARGETS_SHOWN) + leftOut;
  return `${texts.slice(0, TARGETS_SHOWN).join(", ") || "targets not told"}${more ? ` and ${count(more)} more` : ""}`;
}

function name(scan) {
  return h("a", { title: momentInFull(scan.started_at), href: `#/scan/${encodeURIComponent(scan.scan_id)}` }, `${plain(scan.scan_id, 64)} (${moment(scan.started_at)})`);
}

function tile(title, counts) {
  return h("section", { class: "compare-tile", "aria-label": title }, h("h2", {}, title), h("p", {},
    ...Object.keys(MARKS).map((change) => h("span", { class: "change", "data-change": counts[change] ? change : null }, `${count(counts[change])} ${change}`)),
    h("span", { class: "muted" }, `${count(counts.same)} same`)));
}

function hostRow(host) {
  const lines = [
    ...(host.ports ?? []).map((port) => line(port, `${port.port}/${plain(port.protocol ?? "?", 5).toLowerCase()}`, `${plain(port.service, 80)} ${plain(port.version, 120)}`.trim() || "open")),
    ...(host.services ?? []).map((service) => line(service, `${service.port}/${plain(service.protocol ?? "?", 5).toLowerCase()}`, `${pair(service.before)} → ${pair(service.now)}`)),
    ...(host.vulnerabilities ?? []).map((each) => line(each, h("span", { class: "severity", "data-severity": plain(each.severity, 10) }, plain(each.severity, 10)),
      `${plain(each.title)} ${plain(each.cve, 40)}${each.before ? ` (was ${plain(each.before, 10)})` : ""}`.trim())),
  ];
  return h("li", { class: "compare-host", testid: "compare-host", "data-change": host.change },
    h("h3", {}, mark(host.change), h("span", { class: "compare-ip" }, plain(host.ip, 255)), host.hostname ? h("span", { class: "muted" }, plain(host.hostname, 120)) : null),
    lines.length ? h("ul", {}, ...lines) : null);
}

function line(thing, where, text) {
  return h("li", { "data-change": thing.change }, mark(thing.change), h("span", { class: "compare-where" }, where), h("span", { class: "compare-text" }, text));
}

/** The sign for those who see it, the word for those who hear it. */
function mark(change) {
  return h("span", { class: "sign", "data-change": change }, h("span", { "aria-hidden": "true" }, MARKS[change] ?? "?"), h("span", { class: "visually-hidden" }, `${change}: `));
}

function pair(texts) {
  return texts ? texts.map((text) => plain(text, 120)).filter(Boolean).join(" ") || "none" : "none";
}
