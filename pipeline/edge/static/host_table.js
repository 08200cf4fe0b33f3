/**
 * The hosts of a scan, usable at 65,536 and more: only the rows in sight exist.
 *
 * Rows have one height, read from the style sheet (`--row-height`); one host at a time may be opened, and
 * its details take what they need below its row, `--detail-height` at most. So the place of every row is arithmetic.
 * What is shown, and in which order, is `host_order.js`'s: sorting follows changes at its own pace, the slower the more
 * it costs.
 */

import { h, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { arrange, ORDERS } from "./host_order.js";
import { hostDetail, HostRow } from "./host_row.js";

const OVERSCAN_ROWS = 4;
const ARRANGE_EVERY_MS = 500;
/** Arranging may take this part of the time at most. */
const ARRANGE_SHARE = 0.04;
const SPARE_ROWS = 40;

export class HostTable {
  /**
   * @param {{order: string, filter: string, host: string}} chosen what the address says; an unknown order is "found"
   * @param {() => void} onChoose what is `chosen` has changed
   */
  constructor(chosen, onChoose) {
    this.onChoose = onChoose;
    this.book = null;
    this.leftOut = 0;
    this.order = ORDERS.has(chosen.order) ? chosen.order : "found";
    this.needle = "";
    this.hosts = [];
    this.arrangedAt = -Infinity;
    this.arrangedRevision = -1;
    this.arrangeEveryMs = ARRANGE_EVERY_MS;
    /** @type {string | null} the address of the host that is opened */
    this.opened = chosen.host || null;
    /** Where it was found last. */
    this.openedAt = -1;
    this.toShow = this.opened;
    this.detail = null;
    this.rows = new Map();
    this.spare = [];
    /** Where to scroll to once the table is as high as it is to be; null: stay. */
    this.scrollLater = null;
    this.shown = h("span", { class: "muted", testid: "hosts-shown" });
    this.search = h("input", { class: "field", type: "search", placeholder: "Address, name, port, service, CVE", "aria-label": "Filter hosts", autocomplete: "off", spellcheck: "false" });
    this.search.value = chosen.filter;
    this.select = h("select", { class: "field", "aria-label": "Order of hosts" });
    for (const [value, { label }] of ORDERS) this.select.append(h("option", { value }, label));
    this.select.value = this.order;
    this.canvas = h("div", { class: "host-canvas", role: "rowgroup" });
    this.scroller = h("div", { class: "host-scroller", tabindex: 0, role: "table", "aria-label": "Hosts" }, tableHead(), this.canvas);
    this.placeholder = h("p", { class: "muted host-placeholder", testid: "no-hosts" });
    this.element = h(
      "section",
      { class: "card hosts", "aria-label": "Hosts" },
      h("header", { class: "card-head" }, h("h2", {}, "Hosts"), this.shown, h("span", { class: "spring" }), this.search, this.select),
      h("div", { class: "host-frame" }, this.scroller, this.placeholder),
    );
    this.search.addEventListener("input", () => this.#choose());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.search.value !== "") {
        this.search.value = "";
        this.#choose();
      }
    });
    this.select.addEventListener("change", () => this.#choose());
    // Where it is scrolled to and how high it is are noted: asking while drawing would have the browser lay out twice.
    this.scrollTop = 0;
    this.clientHeight = 0;
    this.scroller.addEventListener("scroll", () => {
      this.scrollTop = this.scroller.scrollTop;
      this.#drawSoon();
    }, { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.#key(event));
    this.resize = new ResizeObserver(() => this.#measure());
    this.resize.observe(this.scroller);
    this.drawing = null;
    this.rowHeight = 52;
    this.openHeight = 0;
  }

  /** What the address is to say. */
  get chosen() {
    return { order: this.order === "found" ? "" : this.order, filter: this.search.value.trim(), host: this.opened ?? "" };
  }

  close() {
    this.resize.disconnect();
    cancelAnimationFrame(this.drawing);
  }

  /**
   * Show a scan's hosts as they are now; call it as often as you like.
   *
   * @param {import("./host_book.js").HostBook} book
   * @param {number} total how many hosts the scan has, as far as known
   * @param {boolean} loading more of them are on their way
   * @param {number} now monotonic milliseconds
   * @param {boolean} over there will be no more
   */
  update(book, total, loading, now, over) {
    this.over = over;
    const other = book !== this.book;
    const changed = other || book.revision !== this.arrangedRevision;
    this.book = book;
    this.total = total;
    this.loading = loading;
    if (other || (changed && (this.#isArrivalOrder || now - this.arrangedAt >= this.arrangeEveryMs))) this.#arrange();
    this.#sayShown();
    this.#draw();
  }

  get #isArrivalOrder() {
    return this.order === "found" && this.needle === "";
  }

  #choose() {
    this.order = this.select.value;
    if (this.book !== null) {
      this.#arrange();
      this.#sayShown();
      this.#draw();
    }
    this.onChoose();
  }

  #arrange() {
    const began = performance.now();
    const stood = this.detail === null ? null : this.openedAt * this.rowHeight - this.scrollTop;
    this.needle = this.search.value.trim().toLowerCase();
    this.hosts = arrange(this.book, this.order, this.needle);
    this.arrangedRevision = this.book.revision;
    this.arrangedAt = performance.now();
    this.arrangeEveryMs = Math.max(ARRANGE_EVERY_MS, (this.arrangedAt - began) / ARRANGE_SHARE);
    this.openedAt = -1;
    // What somebody reads stays where it is, also when its place in the order is another one now.
    if (stood !== null && this.#findOpened() >= 0) this.scrollLater = this.openedAt * this.rowHeight - stood;
  }

  #sayShown() {
    const [shown, listed] = [this.hosts.length, this.book.hosts.length];
    const more = this.total - listed;
    const rest = more <= 0 ? "" : this.loading ? `, ${count(more)} on their way` : `, ${count(more)} counted but not listed`;
    setText(this.shown, `${this.needle === "" ? count(listed) : `${count(shown)} of ${count(listed)}`}${rest}`);
    setText(this.placeholder, listed === 0 ? (this.over ? "No hosts." : "No hosts yet.") : "No host matches this filter.");
    this.placeholder.hidden = shown > 0;
  }

  #measure() {
    this.clientHeight = this.scroller.clientHeight;
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
    if (this.book === null) return;
    const { hosts, rowHeight } = this;
    const openedAt = this.#findOpened();
    const extra = openedAt < 0 ? 0 : this.openHeight;
    const top = (index) => index * rowHeight + (openedAt >= 0 && index > openedAt ? extra : 0);
    const height = `${hosts.length * rowHeight + extra}px`;
    if (height !== this.canvas.style.height) this.canvas.style.height = height;
    setAttribute(this.scroller, "aria-rowcount", hosts.length + 1);
    if (this.toShow !== null && openedAt >= 0) this.#show(openedAt);
    if (this.scrollLater !== null) {
      this.#scrollTo(this.scrollLater);
      this.scrollLater = null;
    }

    const { scrollTop, clientHeight } = this;
    // An opened host above makes the rows in sight come from earlier indices: reach back by its height.
    const first = Math.max(0, Math.floor((scrollTop - extra) / rowHeight) - OVERSCAN_ROWS);
    const end = Math.min(hosts.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + OVERSCAN_ROWS);
    const wanted = new Set(hosts.slice(first, end));
    for (const host of [...this.rows.keys()]) if (!wanted.has(host)) this.#drop(host);
    let place = this.canvas.firstElementChild;
    for (let index = first; index < end; index += 1) {
      const host = hosts[index];
      const row = this.rows.get(host) ?? this.#add(host);
      row.update(host, this.book, index, top(index), index === openedAt);
      if (row.element === place) place = place.nextElementSibling;
      else this.canvas.insertBefore(row.element, place);
      if (index === openedAt) place = this.#drawDetail(host, top(index) + rowHeight, place);
    }
    if (openedAt < first || openedAt >= end) this.#dropDetail();
  }

  #findOpened() {
    if (this.opened === null) return -1;
    if (this.hosts[this.openedAt]?.ip !== this.opened) this.openedAt = this.hosts.findIndex((host) => host.ip === this.opened);
    return this.openedAt;
  }

  /** Bring the host that the address names into sight, once. */
  #show(index) {
    this.toShow = null;
    this.#scrollTo((index - 1) * this.rowHeight);
  }

  #scrollTo(top) {
    this.scroller.scrollTop = Math.max(0, top);
    this.scrollTop = this.scroller.scrollTop;
  }

  #drawDetail(host, top, place) {
    if (this.detail?.host !== host || this.detail.revision !== host.revision) {
      const scrolled = this.detail?.host === host ? this.detail.element.scrollTop : 0;
      const focused = this.detail?.element === document.activeElement;
      const element = hostDetail(host, this.book);
      if (this.detail !== null) {
        if (this.detail.element === place) place = place.nextElementSibling;
        this.detail.element.remove();
      }
      this.detail = { host, revision: host.revision, element };
      this.canvas.insertBefore(element, place);
      element.scrollTop = scrolled;
      if (focused) element.focus({ preventScroll: true });
      this.#measureDetail();
    } else if (this.detail.element === place) {
      place = place.nextElementSibling;
    } else {
      this.canvas.insertBefore(this.detail.element, place);
    }
    this.detail.element.style.top = `${top}px`;
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

  #toggle(host) {
    this.opened = this.opened === host.ip ? null : host.ip;
    this.openedAt = this.opened === null ? -1 : this.hosts.indexOf(host);
    this.#dropDetail();
    this.#draw();
    this.onChoose();
  }

  /** Arrows, Home and End go from host to host; Escape closes the one that is opened. */
  #key(event) {
    const at = this.hosts.findIndex((host) => this.rows.get(host)?.button === document.activeElement);
    if (event.key === "Escape" && this.opened !== null) {
      const index = this.#findOpened();
      this.#toggle({ ip: this.opened });
      if (index >= 0) this.#focus(index);
      return;
    }
    if (event.altKey || event.ctrlKey || event.metaKey || (at < 0 && document.activeElement !== this.scroller)) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.hosts.length - 1 }[event.key];
    if (to === undefined || to < 0 || to >= this.hosts.length) return;
    event.preventDefault();
    this.#focus(to);
  }

  #focus(index) {
    const { scroller, rowHeight } = this;
    const headHeight = scroller.firstElementChild.offsetHeight;
    const openedAt = this.#findOpened();
    const top = index * rowHeight + (openedAt >= 0 && index > openedAt ? this.openHeight : 0);
    const lowest = top + rowHeight + headHeight - scroller.clientHeight;
    if (top < scroller.scrollTop) this.#scrollTo(top);
    else if (lowest > scroller.scrollTop) this.#scrollTo(lowest);
    this.#draw();
    this.rows.get(this.hosts[index])?.button.focus({ preventScroll: true });
  }

  #add(host) {
    const row = this.spare.pop() ?? new HostRow((shown) => this.#toggle(shown));
    this.rows.set(host, row);
    return row;
  }

  #drop(host) {
    const row = this.rows.get(host);
    // A focused row that scrolls away would send the keyboard back to the top of the page.
    if (row.element.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
    row.element.remove();
    this.rows.delete(host);
    if (this.spare.length < SPARE_ROWS) this.spare.push(row);
  }
}

function tableHead() {
  const cell = (text, name) => h("span", { role: "columnheader", class: name }, text);
  return h(
    "div",
    { class: "host-head", role: "rowgroup" },
    h("div", { class: "host-grid", role: "row" }, cell("Host", ""), cell("Ports and services", ""), cell("Open", "number"), cell("Found", "")),
  );
}
