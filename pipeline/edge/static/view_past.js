/** Past scans: those that ended and left the workers' memory, for as long as they are kept. */

import { rewriteQuery } from "./address.js";
import { h, setAttribute, setText } from "./dom.js";
import { duration, moment, momentInFull, plain, plural, SEVERITIES } from "./format.js";
import { fetchPast, reference } from "./past_api.js";
import { ScanActions } from "./scan_actions.js";

const TYPING_MS = 250;
const EMPTY_PAGES = 20; // a search may look through many scans before it finds one; then it is asked whether to go on

export class PastView {
  /**
   * @param {(text: string) => void} announce says a change to a screen reader
   * @param {URLSearchParams} query `search`: what is searched for at first
   */
  constructor(announce, query = new URLSearchParams()) {
    this.announce = announce;
    this.title = "Past scans · scanstream";
    this.asking = new AbortController();
    this.typing = null;
    this.next = null;
    this.search = h("input", {
      class: "field", id: "past-search", type: "search", maxlength: 200, autocomplete: "off", spellcheck: "false", testid: "past-search",
      placeholder: "Name, target, label", value: (query.get("search") ?? "").slice(0, 200),
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.#begin(), TYPING_MS);
    });
    this.summary = h("p", { class: "summary", testid: "summary" });
    this.banner = h("p", { class: "banner", hidden: true, role: "alert", testid: "past-banner" });
    this.list = h("ul", { class: "past-list", "aria-label": "Past scans", testid: "past-list" });
    this.more = h("button", { class: "button more", type: "button", hidden: true, testid: "past-more" }, "Show more");
    this.more.addEventListener("click", () => this.#more());
    this.empty = h("section", { class: "empty", hidden: true, testid: "past-empty" });
    this.element = h("div", { class: "page past-page" },
      h("div", { class: "page-head" },
        h("h1", {}, "Past scans"), this.summary, h("span", { class: "spring" }),
        h("label", { class: "visually-hidden", for: "past-search" }, "Search past scans"), this.search),
      this.banner, this.list, this.more, this.empty);
    this.#begin();
  }

  close() {
    clearTimeout(this.typing);
    this.asking.abort();
  }

  #begin() {
    this.asking.abort();
    this.asking = new AbortController();
    rewriteQuery({ search: this.search.value.trim() });
    this.next = null;
    this.#load(this.asking, true);
  }

  async #more() {
    const last = this.list.lastElementChild;
    await this.#load(this.asking, false);
    (last?.nextElementSibling ?? this.list.firstElementChild)?.querySelector("a, summary")?.focus();
  }

  /** Ask until there is something to show. */
  async #load(asking, anew) {
    const { signal } = asking;
    const search = this.search.value.trim();
    const found = [];
    let complete = true;
    let pages = 0;
    let after = this.next;
    setAttribute(this.list, "aria-busy", "true");
    this.more.disabled = true;
    try {
      do {
        const page = await fetchPast(search, after, signal);
        found.push(...page.scans);
        complete &&= page.complete;
        after = page.next;
        pages += 1;
      } while (found.length === 0 && after !== null && pages < EMPTY_PAGES);
    } catch (error) {
      if (!signal.aborted) this.#say(error.message);
      return;
    } finally {
      if (!signal.aborted) {
        setAttribute(this.list, "aria-busy", null);
        this.more.disabled = false;
      }
    }
    if (signal.aborted) return;
    this.next = after;
    const rows = found.map((scan) => this.#row(scan));
    if (anew) this.list.replaceChildren(...rows);
    else this.list.append(...rows);
    this.#say(complete ? "" : "A worker did not answer: scans may be missing here.");
    this.#sum(search);
    this.announce(`${this.summary.textContent}${search ? " found" : ""}`);
  }

  #say(text) {
    setText(this.banner, text);
    this.banner.hidden = text === "";
  }

  #sum(search) {
    const shown = this.list.childElementCount;
    this.more.hidden = this.next === null;
    setText(this.summary, this.next === null ? plural(shown, "scan") : `the latest ${plural(shown, "scan")}`);
    this.empty.hidden = shown > 0 || this.next !== null;
    if (this.empty.hidden) return;
    this.empty.replaceChildren(
      h("h2", {}, search ? "Nothing found" : "No past scans"),
      h("p", {}, search ? "No scan that is kept has all these words in its id, name, targets or labels." : "A scan comes here a few minutes after its end."));
  }

  #row(scan) {
    const scanId = plain(scan.scan_id, 64);
    const name = scan.present
      ? h("a", { href: `#/scan/${encodeURIComponent(scan.scan_id)}`, testid: "past-open" }, scanId)
      : h("span", {}, scanId, h("span", { class: "tag", title: "The same id was scanned again later, and its page shows the later run; this one can be compared, exported and deleted" }, "earlier run of the same id"));
    const row = h("li", { class: "past-row", testid: "past-row", "data-scan-id": scan.scan_id });
    const actions = new ScanActions(reference(scan), this.announce, () => {
      const beside = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.#sum(this.search.value.trim());
      (beside?.querySelector("a, summary") ?? this.search).focus();
    });
    row.append(
      h("div", { class: "past-name" }, name, h("span", { class: "past-about", testid: "past-about" }, about(scan))),
      h("span", { class: "badge", "data-status": plain(scan.status, 20) }, plain(scan.status, 20)),
      h("span", { class: "past-when" },
        h("time", { datetime: plain(scan.started_at, 40), title: momentInFull(scan.started_at) }, moment(scan.started_at)),
        h("span", { class: "muted number" }, duration(scan.elapsed_time))),
      h("span", { class: "past-found", testid: "past-found" }, ...found(scan.totals)),
      actions.element);
    return row;
  }
}

function about(scan) {
  const labels = Object.entries(scan.labels ?? {}).map(([label, value]) => plain(value ? `${label}=${value}` : label, 60));
  const targets = (scan.targets ?? []).map((target) => plain(target, 60));
  const more = Math.max(0, targets.length - 4) + (scan.targets_left_out ?? 0);
  return [plain(scan.name, 120), targets.slice(0, 4).join(", ") + (more ? ` and ${more} more` : ""), ...labels, plain(scan.error, 120)]
    .filter(Boolean).join(" · ");
}

function found({ hosts, open_ports: ports, vulnerabilities }) {
  const severities = SEVERITIES.filter((severity) => vulnerabilities?.[severity] > 0).map((severity) =>
    h("span", { class: "severity", "data-severity": severity }, `${vulnerabilities[severity]} ${severity}`));
  return [h("span", { class: "number" }, `${plural(hosts, "host")} · ${plural(ports, "open port")}`), ...severities];
}
