/**
 * The hosts of a scan, usable at 5,000 and more: only the rows in sight exist.
 *
 * Rows have one height, read from the style sheet (`--row-height`); one host at a time may be opened, and
 * its details take what they need below its row, `--detail-height` at most. So the place of every row is arithmetic.
 */

import { h, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { addressKey } from "./host_book.js";
import { hostDetail, HostRow } from "./host_row.js";

const OVERSCAN_ROWS = 6;
const SORT_EVERY_MS = 500;

const ORDERS = new Map([
  ["found", { label: "as found", compare: null }],
  ["address", { label: "address", compare: (a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)) }],
  ["worst", { label: "most severe", compare: (a, b) => b.host.badness - a.host.badness || a.host.position - b.host.position }],
  ["ports", { label: "open ports", compare: (a, b) => b.host.open - a.host.open || a.host.position - b.host.position }],
]);

export class HostTable {
  constructor() {
    this.book = null;
    this.order = "found";
    this.needle = "";
    this.hosts = [];
    this.sortedAt = -Infinity;
    this.sortedRevision = -1;
    this.opened = null;
    this.detail = null;
    this.rows = new Map();
    this.shown = h("span", { class: "muted", testid: "hosts-shown" });
    this.search = h("input", { class: "field", type: "search", placeholder: "Address, name, port or service", "aria-label": "Filter hosts", autocomplete: "off", spellcheck: "false" });
    this.select = h("select", { class: "field", "aria-label": "Order of hosts" });
    for (const [value, { label }] of ORDERS) this.select.append(h("option", { value }, label));
    this.canvas = h("div", { class: "host-canvas", role: "rowgroup" });
    this.scroller = h("div", { class: "host-scroller", tabindex: 0, role: "table", "aria-label": "Hosts" }, tableHead(), this.canvas);
    this.placeholder = h("p", { class: "muted host-placeholder" }, "No hosts yet.");
    this.element = h(
      "section",
      { class: "card hosts", "aria-label": "Hosts" },
      h("header", { class: "card-head" }, h("h2", {}, "Hosts"), this.shown, h("span", { class: "spring" }), this.search, this.select),
      h("div", { class: "host-frame" }, this.scroller, this.placeholder),
    );
    this.search.addEventListener("input", () => this.#choose());
    this.select.addEventListener("change", () => this.#choose());
    this.scroller.addEventListener("scroll", () => this.#drawSoon(), { passive: true });
    this.resize = new ResizeObserver(() => this.#measure());
    this.resize.observe(this.scroller);
    this.drawing = null;
    this.rowHeight = 52;
    this.openHeight = 0;
  }

  close() {
    this.resize.disconnect();
    cancelAnimationFrame(this.drawing);
  }

  /** Show a scan's hosts as they are now; call it as often as you like. @param {import("./host_book.js").HostBook} book */
  update(book, now) {
    const changed = book !== this.book || book.revision !== this.sortedRevision;
    this.book = book;
    // Sorting and filtering is for people to read: twice a second is enough, and cheap at any size.
    if (changed && (this.#isArrivalOrder || now - this.sortedAt >= SORT_EVERY_MS)) this.#arrange(now);
    this.#draw();
  }

  get #isArrivalOrder() {
    return this.order === "found" && this.needle === "";
  }

  #choose() {
    this.order = this.select.value;
    this.needle = this.search.value.trim().toLowerCase();
    if (this.book === null) return;
    this.#arrange(performance.now());
    this.#draw();
  }

  #arrange(now) {
    const all = this.book.hosts;
    const matching = this.needle === "" ? all : all.filter((host) => host.matches(this.needle));
    const { compare } = ORDERS.get(this.order);
    this.hosts = compare === null ? matching : sorted(matching, compare);
    this.sortedAt = now;
    this.sortedRevision = this.book.revision;
    const beyond = this.book.beyond > 0 ? ` · ${plural(this.book.beyond, "result")} on further hosts not shown` : "";
    setText(this.shown, (this.needle === "" ? count(all.length) : `${count(matching.length)} of ${count(all.length)}`) + beyond);
    setText(this.placeholder, all.length === 0 ? "No hosts yet." : "No host matches this filter.");
    this.placeholder.hidden = matching.length > 0;
  }

  #measure() {
    this.rowHeight = Number.parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row-height"));
    this.#draw();
    this.#measureDetail();
  }

  #drawSoon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.#draw();
    });
  }

  #draw() {
    const { hosts, rowHeight } = this;
    const openedAt = this.opened === null ? -1 : this.#indexOf(this.opened);
    const extra = openedAt < 0 ? 0 : this.openHeight;
    const top = (index) => index * rowHeight + (openedAt >= 0 && index > openedAt ? extra : 0);
    this.canvas.style.height = `${hosts.length * rowHeight + extra}px`;
    this.scroller.setAttribute("aria-rowcount", String(hosts.length + 1));

    const { scrollTop, clientHeight } = this.scroller;
    // An opened host above makes the rows in sight come from earlier indices: reach back by its height.
    const first = Math.max(0, Math.floor((scrollTop - extra) / rowHeight) - OVERSCAN_ROWS);
    const end = Math.min(hosts.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + OVERSCAN_ROWS);
    const gone = new Set(this.rows.keys());
    let place = this.canvas.firstElementChild;
    for (let index = first; index < end; index += 1) {
      const host = hosts[index];
      gone.delete(host.ip);
      const row = this.rows.get(host.ip) ?? this.#add(host);
      row.update(host, index, top(index), index === openedAt);
      if (row.element === place) place = place.nextElementSibling;
      else this.canvas.insertBefore(row.element, place);
      if (index === openedAt) place = this.#drawDetail(host, top(index) + rowHeight, place);
    }
    for (const ip of gone) this.#drop(ip);
    if (openedAt < first || openedAt >= end) this.#dropDetail();
  }

  #indexOf(ip) {
    if (this.#isArrivalOrder) return this.book.byIp.get(ip)?.position ?? -1;
    return this.hosts.findIndex((host) => host.ip === ip);
  }

  #drawDetail(host, top, place) {
    if (this.detail?.host !== host || this.detail.revision !== host.revision) {
      const scrolled = this.detail?.host === host ? this.detail.element.scrollTop : 0;
      const element = hostDetail(host);
      if (this.detail !== null) {
        if (this.detail.element === place) place = place.nextElementSibling;
        this.detail.element.remove();
      }
      this.detail = { host, revision: host.revision, element };
      this.canvas.insertBefore(element, place);
      element.scrollTop = scrolled;
      this.#measureDetail();
    } else if (this.detail.element === place) {
      place = place.nextElementSibling;
    } else {
      this.canvas.insertBefore(this.detail.element, place);
    }
    this.detail.element.style.transform = `translateY(${top}px)`;
    return place;
  }

  /** Make room for the details as they are now; the rows below follow in the next picture. */
  #measureDetail() {
    const height = this.detail?.element.offsetHeight ?? 0;
    if (height === this.openHeight) return;
    this.openHeight = height;
    this.#drawSoon();
  }

  #dropDetail() {
    this.detail?.element.remove();
    this.detail = null;
  }

  #add(host) {
    const row = new HostRow(host, () => {
      this.opened = this.opened === host.ip ? null : host.ip;
      if (this.opened === null) this.#dropDetail();
      this.#draw();
    });
    this.rows.set(host.ip, row);
    return row;
  }

  #drop(ip) {
    const { element } = this.rows.get(ip);
    // A focused row that scrolls away would send the keyboard back to the top of the page.
    if (element.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
    element.remove();
    this.rows.delete(ip);
  }
}

function sorted(hosts, compare) {
  return hosts
    .map((host) => ({ host, key: addressKey(host.ip) }))
    .sort(compare)
    .map(({ host }) => host);
}

function tableHead() {
  const cell = (text, name) => h("span", { role: "columnheader", class: name }, text);
  return h(
    "div",
    { class: "host-head", role: "rowgroup" },
    h("div", { class: "host-grid", role: "row" }, cell("Host", ""), cell("Ports and services", ""), cell("Open", "number"), cell("Findings", "")),
  );
}
