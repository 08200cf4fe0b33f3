/** Who reads: the connections of all edges, those that are most behind first. */

import { h, setAttribute, setText } from "./dom.js";
import { bytes, count, duration, plain, plural } from "./format.js";

const SHOWN = 100;
const FULL_PACE = 10;
const HEADS = ["Address", "Wire", "Reads", "Connected", "Messages", "Bytes", "Lag", "Pace"];

export class ConnectionTable {
  constructor() {
    this.rows = new Map();
    this.count = h("span", { class: "muted", testid: "connections-count" });
    this.body = h("tbody", {});
    this.none = h("p", { class: "muted table-none" }, "Nobody is connected.");
    this.element = h(
      "section",
      { class: "card", "aria-label": "Connections", testid: "connections" },
      h("header", { class: "card-head" }, h("h2", {}, "Connections"), this.count),
      h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Table of connections" },
        h("table", { class: "table" },
          h("thead", {}, h("tr", {}, ...HEADS.map((head, i) => h("th", { scope: "col", class: i >= 3 ? "number" : null }, head)))),
          this.body)),
      this.none,
    );
  }

  /** @param {{connections: object[], total: number, complete: boolean}} answer of the edge */
  update({ connections, total, complete }) {
    const worst = (one) => [one.pace < FULL_PACE ? 0 : 1, -one.lag];
    const sorted = connections
      .map((one) => ({ one, key: worst(one) }))
      .sort((a, b) => a.key[0] - b.key[0] || a.key[1] - b.key[1])
      .map(({ one }) => one)
      .slice(0, SHOWN);
    const shown = sorted.length < total ? `${count(sorted.length)} of ${plural(total, "connection")}, those most behind first` : plural(total, "connection");
    setText(this.count, complete ? shown : `${shown} · an edge did not answer`);
    this.none.hidden = total > 0;
    const gone = new Set(this.rows.keys());
    let place = this.body.firstElementChild;
    for (const one of sorted) {
      gone.delete(one.connection_id);
      let row = this.rows.get(one.connection_id);
      if (row === undefined) {
        row = new ConnectionRow(one);
        this.rows.set(one.connection_id, row);
      }
      row.update(one);
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
    }
    for (const id of gone) {
      this.rows.get(id).element.remove();
      this.rows.delete(id);
    }
  }
}

class ConnectionRow {
  constructor({ connection_id: id, edge, address, wire }) {
    this.reads = h("td", { class: "cell-text" });
    this.numbers = ["duration", "messages", "bytes", "lag", "pace"].map(() => h("td", { class: "number" }));
    this.element = h("tr", { testid: "connection", title: `${plain(id, 40)} at edge-${edge}` },
      h("th", { scope: "row" }, plain(address, 60)), h("td", {}, plain(wire, 20)), this.reads, ...this.numbers);
  }

  update({ wire, scans, reports, duration: seconds, messages, bytes: size, lag, pace, skipped }) {
    const names = [...scans, ...reports.map((id) => `report ${id}`)].map((name) => plain(name, 64));
    setText(this.reads, names.length ? names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "") : wire === "native" || wire === "sse" ? "statistics" : "–");
    const texts = [duration(seconds), count(messages), bytes(size), skipped > 0 ? `${count(lag)}, ${count(skipped)} skipped` : count(lag), pace < FULL_PACE ? `${pace}/s, slowed` : "full"];
    texts.forEach((text, i) => setText(this.numbers[i], text));
    setAttribute(this.element, "data-level", pace < FULL_PACE ? "warn" : null);
  }
}
