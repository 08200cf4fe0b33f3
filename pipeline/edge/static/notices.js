/** What went wrong or is worth knowing beside the findings: a list of what happened, and what holds at the moment. */

import { h, setText } from "./dom.js";
import { plural } from "./format.js";

/** What happened; hidden while there is nothing. */
export class Notices {
  constructor() {
    this.lastId = 0;
    this.count = h("span", { class: "muted" });
    this.list = h("ol", { class: "notices" });
    this.element = h("section", { class: "card", "aria-label": "Notices", testid: "notices", hidden: true },
      h("header", { class: "card-head" }, h("h2", {}, "Notices"), this.count), this.list);
  }

  /** @param {import("./scan_model.js").ScanModel} model */
  update({ notices, noticeCount }) {
    if (noticeCount === this.lastId) return;
    this.lastId = noticeCount;
    setText(this.count, noticeCount > notices.length ? `latest ${notices.length} of ${plural(noticeCount, "notice")}` : "");
    this.list.replaceChildren(...notices.toReversed().map(({ level, text }) => h("li", { class: "notice", "data-level": level }, text)));
    this.element.hidden = false;
  }
}

/**
 * What holds at the moment, above the page's foot, so that it moves nothing: the worker does not answer; and what was
 * missed, until it is dismissed.
 */
export class Standing {
  /** @param {(text: string) => void} announce says it to a screen reader */
  constructor(announce) {
    this.announce = announce;
    this.silent = h("p", { class: "toast toast-warning", testid: "degraded", hidden: true },
      "The scan's worker does not answer: what is shown may be behind.");
    this.text = h("span", {});
    this.dismiss = h("button", { class: "button button-small", type: "button" }, "Dismiss");
    this.dismiss.addEventListener("click", () => (this.missed.hidden = true));
    this.missed = h("div", { class: "toast", testid: "missed", hidden: true }, this.text, this.dismiss);
    this.element = h("div", { class: "toasts" }, this.silent, this.missed);
  }

  /** @param {boolean} degraded the worker does not answer, and it matters */
  setDegraded(degraded) {
    if (this.silent.hidden !== degraded) return;
    this.silent.hidden = !degraded;
    this.announce(degraded ? this.silent.textContent : "The scan's worker answers again.");
  }

  /** @param {string} text what came while the page did not follow */
  tellMissed(text) {
    setText(this.text, text);
    this.missed.hidden = false;
    this.announce(text);
  }
}
