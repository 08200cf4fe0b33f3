/** How the list is searched, filtered and sorted: what is chosen here stands in the address. */

import { h, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { ORDERS, STATUSES } from "./scan_order.js";

export class ListToolbar {
  /**
   * @param {URLSearchParams} query what the address says
   * @param {() => void} onChange `wanted` is another now
   */
  constructor(query, onChange) {
    this.onChange = onChange;
    this.search = h("input", { class: "field", type: "search", placeholder: "Search id, name, target, label", "aria-label": "Search scans", autocomplete: "off", spellcheck: "false", maxlength: 200, testid: "search" });
    this.search.value = (query.get("q") ?? "").slice(0, 200);
    this.select = h("select", { class: "field", "aria-label": "Order of scans", testid: "sort" });
    for (const [value, { label }] of ORDERS) this.select.append(h("option", { value }, label));
    const order = query.get("sort");
    this.select.value = ORDERS.has(order) ? order : "importance";
    const status = query.get("status") ?? "";
    this.status = STATUSES.includes(status) ? status : "";
    this.chips = new Map(["", ...STATUSES].map((one) => [one, this.#chip(one)]));
    this.element = h(
      "div",
      { class: "toolbar", role: "search" },
      this.search,
      h("div", { class: "chip-row", role: "group", "aria-label": "Status" }, ...[...this.chips.values()].map(({ element }) => element)),
      h("label", { class: "sort" }, h("span", { class: "muted" }, "Sort by"), this.select),
    );
    this.search.addEventListener("input", () => onChange());
    this.select.addEventListener("change", () => onChange());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.search.value === "") return;
      event.preventDefault();
      this.search.value = "";
      onChange();
    });
    this.#mark();
  }

  #chip(status) {
    const number = h("span", { class: "number chip-count" });
    const element = h("button", { class: "filter-chip", type: "button", "data-status": status || "all", testid: `status-${status || "all"}` }, status || "all", number);
    element.addEventListener("click", () => {
      this.status = this.status === status ? "" : status;
      this.#mark();
      this.onChange();
    });
    return { element, number };
  }

  #mark() {
    for (const [status, { element }] of this.chips) setAttribute(element, "aria-pressed", status === this.status);
  }

  /** What is to be shown, as `arrange` wants it. */
  get wanted() {
    return { search: this.search.value.trim(), status: this.status, order: this.select.value };
  }

  /** The same, as it stands in an address. */
  get query() {
    const { search, status, order } = this.wanted;
    return { q: search, status, sort: order === "importance" ? "" : order };
  }

  /** @param {Map<string, number>} statuses how many scans have which status, of those found */
  update(statuses) {
    let all = 0;
    for (const number of statuses.values()) all += number;
    for (const [status, { number, element }] of this.chips) {
      const found = status === "" ? all : (statuses.get(status) ?? 0);
      setText(number, count(found));
      setAttribute(element, "data-none", found === 0 ? "" : null);
    }
  }
}
