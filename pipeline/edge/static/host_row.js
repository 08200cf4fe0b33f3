/** One host as a row, and all that is known of it below the row. */

import { h, setText } from "./dom.js";
import { count, plural, SEVERITIES } from "./format.js";

/** The most ports drawn in a row; the number of open ones stands beside them, the rest in the details. */
const MAX_CHIPS = 12;
/** The most ports drawn in the details. */
const MAX_DETAIL_PORTS = 500;

export class HostRow {
  /**
   * @param {import("./host_book.js").Host} host
   * @param {() => void} onToggle its details are to be opened or closed
   */
  constructor(host, onToggle) {
    this.host = null;
    this.revision = -1;
    this.hostname = h("span", { class: "host-name" });
    this.chips = h("span", { class: "chips", role: "cell" });
    this.open = h("span", { class: "number host-open", role: "cell" });
    this.found = h("span", { class: "host-found", role: "cell" });
    this.button = h("button", { class: "host-button", type: "button", "aria-expanded": "false" }, h("span", { class: "host-ip" }, host.ip), this.hostname);
    this.element = h(
      "div",
      { class: "host-row host-grid", role: "row", testid: "host-row", "data-ip": host.ip },
      h("span", { class: "host-cell", role: "rowheader" }, this.button),
      this.chips,
      this.open,
      this.found,
    );
    // The whole row opens it for the mouse; keyboard and screen reader use the button in it.
    this.element.addEventListener("click", onToggle);
  }

  update(host, index, top, opened) {
    this.element.style.transform = `translateY(${top}px)`;
    this.element.setAttribute("aria-rowindex", String(index + 2));
    this.button.setAttribute("aria-expanded", String(opened));
    if (host === this.host && host.revision === this.revision) return;
    this.host = host;
    this.revision = host.revision;
    setText(this.hostname, host.hostname);
    this.chips.replaceChildren(...host.ports.slice(0, MAX_CHIPS).map(portChip));
    setText(this.open, count(host.open));
    this.open.classList.toggle("muted", host.open === 0);
    this.found.replaceChildren(...severityMarks(host.severities));
  }
}

/** @param {import("./host_book.js").Port} port */
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
  return SEVERITIES.filter((severity) => severities[severity] > 0).map((severity) =>
    h("span", { class: "mark", "data-severity": severity, title: `${severities[severity]} ${severity}` },
      h("span", { class: "visually-hidden" }, `${severity}: `), count(severities[severity])),
  );
}

/** Return everything about a host: its ports as a list, its vulnerabilities. It scrolls by itself. */
export function hostDetail(host) {
  const ports = host.ports.slice(0, MAX_DETAIL_PORTS);
  const [morePorts, moreFindings] = [host.ports.length - ports.length, host.vulnerabilityCount - host.vulnerabilities.length];
  return h(
    "div",
    { class: "host-detail", tabindex: 0, role: "row", "aria-label": `Details of ${host.ip}`, testid: "host-detail" },
    h("div", { role: "cell", class: "detail-columns" },
      h("div", {},
        h("h3", {}, plural(host.ports.length, "port")),
        h("ul", { class: "detail-list" }, ...ports.map(portLine)),
        morePorts > 0 ? h("p", { class: "muted" }, `and ${plural(morePorts, "more port")}`) : null,
      ),
      h("div", {},
        h("h3", {}, plural(host.vulnerabilityCount, "finding")),
        h("ul", { class: "detail-list" }, ...host.vulnerabilities.map(vulnerabilityLine)),
        moreFindings > 0 ? h("p", { class: "muted" }, `and ${plural(moreFindings, "more finding")}`) : null,
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
