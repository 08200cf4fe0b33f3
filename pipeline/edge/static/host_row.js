/** One host as a row, and all that is known of it below the row. */

import { h, setAttribute, setText } from "./dom.js";
import { count, plural, SEVERITIES } from "./format.js";
import { portsOf, vulnerabilitiesOf } from "./host.js";

/** The most ports drawn in a row; the number of open ones stands beside them, the rest in the details. */
const MAX_CHIPS = 12;
/** The most ports, and vulnerabilities, drawn in the details. */
const MAX_DETAILS = 500;

/** A row can be used for one host after the other: making its elements costs more than filling them. */
export class HostRow {
  /** @param {(host: import("./host.js").Host) => void} onToggle its details are to be opened or closed */
  constructor(onToggle) {
    this.host = null;
    this.revision = -1;
    this.top = null;
    /** @type {Map<string, HTMLElement>} what a chip says -> the chip */
    this.drawn = new Map();
    this.ip = h("span", { class: "host-ip" });
    this.hostname = h("span", { class: "host-name" });
    this.chips = h("span", { class: "chips", role: "cell" });
    this.open = h("span", { class: "number host-open", role: "cell" });
    this.found = h("span", { class: "host-found", role: "cell" });
    this.button = h("button", { class: "host-button", type: "button", "aria-expanded": "false" }, this.ip, this.hostname);
    this.element = h(
      "div",
      { class: "host-row host-grid", role: "row", testid: "host-row" },
      h("span", { class: "host-cell", role: "rowheader" }, this.button),
      this.chips,
      this.open,
      this.found,
    );
    // The whole row opens it for the mouse; keyboard and screen reader use the button in it.
    this.element.addEventListener("click", () => onToggle(this.host));
  }

  update(host, book, index, top, opened) {
    if (top !== this.top) this.element.style.top = `${top}px`;
    this.top = top;
    setAttribute(this.element, "aria-rowindex", index + 2);
    setAttribute(this.button, "aria-expanded", opened);
    if (host === this.host && host.revision === this.revision) return;
    if (host !== this.host) {
      setText(this.ip, host.ip);
      setAttribute(this.element, "data-ip", host.ip);
    }
    this.host = host;
    this.revision = host.revision;
    setText(this.hostname, host.hostname);
    this.#drawChips(portsOf(host, book.services).slice(0, MAX_CHIPS));
    setText(this.open, count(host.openCount));
    this.open.classList.toggle("muted", host.openCount === 0);
    this.found.replaceChildren(...severityMarks(host.severities));
  }

  /** Draw what is new; a port that is there already keeps its chip. */
  #drawChips(ports) {
    const before = this.drawn;
    this.drawn = new Map(ports.map((port) => {
      const said = Object.values(port).join("\n");
      return [said, before.get(said) ?? portChip(port)];
    }));
    for (const [said, chip] of before) if (!this.drawn.has(said)) chip.remove();
    let place = this.chips.firstElementChild;
    for (const chip of this.drawn.values()) {
      if (chip === place) place = place.nextElementSibling;
      else this.chips.insertBefore(chip, place);
    }
  }
}

/** @param {import("./host.js").Port} port */
function portChip({ port, protocol, state, service, version }) {
  const chip = h(
    "span",
    { class: "chip", testid: "port-chip", "data-port": port, "data-protocol": protocol, "data-state": state },
    h("span", { class: "chip-port" }, protocol === "UDP" ? `${port}/udp` : String(port)),
    h("span", { class: "chip-service", testid: "service-name" }, service),
  );
  chip.title = [`${port}/${protocol || "?"} ${state}`.trim(), service, version].filter(Boolean).join(" · ");
  return chip;
}

function severityMarks(severities) {
  const found = SEVERITIES.map((severity, i) => [severity, severities?.[i] ?? 0]).filter(([, number]) => number > 0);
  return found.map(([severity, number]) =>
    h("span", { class: "mark", "data-severity": severity, title: `${number} ${severity}` },
      h("span", { class: "visually-hidden" }, `${severity}: `), count(number)),
  );
}

/** Return everything about a host: its ports as a list, its vulnerabilities. It scrolls by itself. */
export function hostDetail(host, book) {
  const ports = portsOf(host, book.services).slice(0, MAX_DETAILS);
  const vulnerabilities = vulnerabilitiesOf(host, book.titles).slice(0, MAX_DETAILS);
  const [morePorts, moreFound] = [host.portCount - ports.length, host.vulnerabilityCount - vulnerabilities.length];
  return h(
    "div",
    { class: "host-detail", tabindex: 0, role: "row", "aria-label": `Details of ${host.ip}`, testid: "host-detail" },
    h("div", { role: "cell", class: "detail-columns" },
      h("div", {},
        h("h3", {}, plural(host.portCount, "port")),
        h("ul", { class: "detail-list" }, ...ports.map(portLine)),
        morePorts > 0 ? h("p", { class: "muted" }, `and ${plural(morePorts, "more port")}`) : null,
      ),
      h("div", {},
        h("h3", {}, plural(host.vulnerabilityCount, "vulnerability", "vulnerabilities")),
        h("ul", { class: "detail-list" }, ...vulnerabilities.map(vulnerabilityLine)),
        moreFound > 0 ? h("p", { class: "muted" }, `and ${count(moreFound)} more`) : null,
      ),
    ),
  );
}

function portLine({ port, protocol, state, service, version }) {
  return h("li", {},
    h("span", { class: "detail-port number" }, `${port}/${protocol.toLowerCase() || "?"}`),
    h("span", { class: "detail-state", "data-state": state }, state.toLowerCase() || "seen"),
    h("span", { class: "detail-text" }, h("b", {}, service), version && service ? ` ${version}` : version));
}

function vulnerabilityLine({ severity, title, cve }) {
  return h("li", {},
    h("span", { class: "severity", "data-severity": severity }, severity),
    h("span", { class: "detail-text" }, title, cve && !title.includes(cve) ? ` (${cve})` : ""));
}
