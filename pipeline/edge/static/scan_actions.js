/** What can be done with a scan as a whole: compare it, take it along as a file, delete it. */

import { h, setAttribute, setText } from "./dom.js";
import { deleteScan, download, exportUrl, FORMATS, linksSuffice } from "./past_api.js";

const NOT_YET = "A scan can be deleted once it has ended.";

export class ScanActions {
  /**
   * @param {string} scan `ID` or `ID@EPOCH`
   * @param {(text: string) => void} announce says a change to a screen reader
   * @param {() => void} onDeleted
   */
  constructor(scan, announce, onDeleted) {
    this.problem = h("p", { class: "actions-problem", role: "alert", testid: "actions-problem", hidden: true });
    const say = (text) => {
      setText(this.problem, text);
      this.problem.hidden = text === "";
    };
    this.deleting = new DeleteControl(scan, announce, onDeleted, say);
    this.element = h("div", { class: "actions", role: "group", "aria-label": `Actions for ${scan}`, testid: "actions" },
      h("a", { class: "button button-small", href: `#/compare/${encodeURIComponent(scan)}`, testid: "compare" }, "Compare"),
      exportMenu(scan, say),
      this.deleting.element,
      this.problem);
  }

  /**
   * Offer what can be done at the moment; without this call, all of it.
   *
   * @param {boolean} known whether there is such a scan
   * @param {boolean} over whether it has ended
   */
  allow(known, over) {
    setAttribute(this.element, "data-unknown", known ? null : "");
    this.deleting.allow(over);
  }
}

function exportMenu(scan, say) {
  const links = FORMATS.map(([format, name]) => {
    const link = h("a", { href: exportUrl(scan, format), download: true, testid: `export-${format}` }, name);
    link.addEventListener("click", (event) => {
      if (linksSuffice()) return;
      event.preventDefault();
      say("");
      download(scan, format).catch((error) => say(error.message));
    });
    return link;
  });
  const menu = h("details", { class: "menu" },
    h("summary", { class: "button button-small", testid: "export", "aria-label": `Export ${scan}` }, "Export"),
    h("div", { class: "menu-items" }, ...links));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (!menu.contains(event.relatedTarget)) menu.open = false;
  });
  for (const link of links) link.addEventListener("click", () => { menu.open = false; });
  return menu;
}

/** A button that asks once more before it deletes. */
class DeleteControl {
  constructor(scan, announce, onDeleted, onProblem) {
    this.scan = scan;
    this.announce = announce;
    this.onDeleted = onDeleted;
    this.onProblem = onProblem;
    this.allowed = true;
    this.ask = h("button", { class: "button button-small", type: "button", testid: "delete", "aria-label": `Delete ${scan}` }, "Delete");
    this.yes = h("button", { class: "button button-small button-danger", type: "button", testid: "delete-yes", "aria-label": `Delete ${scan} for good` }, "Delete for good");
    this.no = h("button", { class: "button button-small", type: "button", testid: "delete-no" }, "Keep");
    this.confirm = h("span", { class: "confirm", hidden: true }, this.yes, this.no);
    this.element = h("span", { class: "delete" }, this.ask, this.confirm);
    this.ask.addEventListener("click", () => (this.allowed ? this.#show(true) : this.onProblem(NOT_YET)));
    this.no.addEventListener("click", () => this.#show(false));
    this.yes.addEventListener("click", () => this.#delete());
    this.confirm.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#show(false);
    });
  }

  allow(allowed) {
    if (allowed === this.allowed) return;
    this.allowed = allowed;
    setAttribute(this.ask, "aria-disabled", allowed ? null : "true");
    setAttribute(this.ask, "title", allowed ? null : NOT_YET);
    if (allowed) this.onProblem("");
    else if (!this.confirm.hidden) this.#show(false);
  }

  #show(asking) {
    this.ask.hidden = asking;
    this.confirm.hidden = !asking;
    this.onProblem("");
    (asking ? this.no : this.ask).focus();
  }

  async #delete() {
    this.yes.disabled = true;
    try {
      await deleteScan(this.scan);
    } catch (error) {
      this.#show(false);
      this.onProblem(error.message);
      return;
    } finally {
      this.yes.disabled = false;
    }
    this.announce(`${this.scan} is deleted`);
    this.onDeleted();
  }
}
