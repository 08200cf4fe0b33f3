/** The page: which view the address asks for, and whether the pipeline behind it is well. */

import { fetchHealth, Poll } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { ListView } from "./view_list.js";
import { ScanView } from "./view_scan.js";

const HEALTH_POLL_MS = 5_000;
const SCAN_ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

const main = document.getElementById("main");
const health = document.getElementById("health");
const announcer = document.getElementById("announcer");
let view = null;

function announce(text) {
  announcer.textContent = text;
}

/** `#/` the list, `#/scan/<id>` one scan; anything else is said to be nothing. */
function openView() {
  const hash = location.hash.replace(/^#\/?/, "");
  if (hash === "") return new ListView(announce);
  const [, encoded] = hash.match(/^scan\/([^/]+)$/) ?? [];
  const scanId = encoded === undefined ? "" : decoded(encoded);
  return SCAN_ID.test(scanId) ? new ScanView(scanId, announce) : new NotFound();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

class NotFound {
  constructor() {
    this.title = "Not found · scanstream";
    this.element = h("div", { class: "page" }, h("section", { class: "empty", testid: "not-found" },
      h("h1", {}, "There is nothing here"),
      h("p", {}, "This address names no scan."),
      h("p", {}, h("a", { href: "#/" }, "All scans"))));
  }

  close() {}
}

function route() {
  const first = view === null;
  view?.close();
  view = openView();
  main.replaceChildren(view.element);
  document.title = view.title;
  if (!first) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

async function checkHealth(signal) {
  let state = "unknown";
  let text = "no answer";
  try {
    const answer = await fetchHealth(signal);
    state = answer.ready ? "ready" : "unready";
    text = answer.text;
  } catch (error) {
    if (signal.aborted) throw error;
  }
  setAttribute(health, "data-state", state);
  setAttribute(health, "title", text);
  setText(health, state === "unready" ? `not ready: ${text}` : text);
}

// "#main" is the skip link's own address and must not change the view.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", route);
route();
new Poll(checkHealth, HEALTH_POLL_MS);
