/** What was found, the latest first: vulnerabilities by severity, and the smaller finds between them. */

import { h, setText } from "./dom.js";
import { count } from "./format.js";
import { MAX_FINDINGS } from "./scan_model.js";

export class FindingsFeed {
  constructor() {
    this.lastId = 0;
    this.lives = 0;
    this.total = h("span", { class: "muted" });
    this.list = h("ol", { class: "findings", tabindex: 0, "aria-label": "Findings, the latest first" });
    this.placeholder = h("p", { class: "muted host-placeholder" }, "Nothing found yet.");
    this.element = h(
      "section",
      { class: "card feed", "aria-label": "Findings" },
      h("header", { class: "card-head" }, h("h2", {}, "Findings"), this.total),
      h("div", { class: "host-frame" }, this.list, this.placeholder),
    );
  }

  /** Show what came since the last call; all anew when the model was cleared. @param {import("./scan_model.js").ScanModel} model */
  update({ findings, findingCount, lives }) {
    if (lives !== this.lives) this.#clear();
    this.lives = lives;
    if (findingCount === this.lastId) return;
    const fresh = findings.slice(-Math.min(MAX_FINDINGS, findingCount - this.lastId));
    this.lastId = findingCount;
    this.list.prepend(...fresh.reverse().map(findingRow));
    while (this.list.childElementCount > MAX_FINDINGS) this.list.lastElementChild.remove();
    setText(this.total, findingCount > MAX_FINDINGS ? `latest ${MAX_FINDINGS} of ${count(findingCount)}` : count(findingCount));
    this.placeholder.hidden = true;
  }

  #clear() {
    this.lastId = 0;
    this.list.replaceChildren();
    setText(this.total, "");
    this.placeholder.hidden = false;
  }
}

/** @param {import("./scan_model.js").Finding} finding */
function findingRow({ seq, kind, severity, title, detail, where }) {
  const label = severity || kind;
  return h(
    "li",
    { class: "finding", testid: "finding-row", "data-severity": severity || "none", "data-seq": seq },
    h("span", { class: "severity", "data-severity": severity || "none" }, label),
    h("span", { class: "finding-title" }, title || "(untitled)"),
    h("span", { class: "finding-where" }, [where, title.includes(detail) ? "" : detail].filter(Boolean).join(" · ")),
    h("span", { class: "finding-seq number", title: "sequence number in this scan" }, `#${seq}`),
  );
}
