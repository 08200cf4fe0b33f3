/** The page: which view the address asks for, and whether the pipeline behind it is well. */

import { fetchHealth, Poll } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { Notifications } from "./notifications.js";
import { CompareView } from "./view_compare.js";
import { ListView } from "./view_list.js";
import { PipelineView } from "./view_pipeline.js";
import { PastView } from "./view_past.js";
import { ScanView } from "./view_scan.js";
import { AccountControl, findOut, SignInView } from "./view_sign_in.js";
import { request, session } from "./session.js";

const HEALTH_POLL_MS = 5_000;
const SCAN_ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

const main = document.getElementById("main");
const health = document.getElementById("health");
const healthText = document.getElementById("health-text");
const announcer = document.getElementById("announcer");
let view = null;

function announce(text) {
  announcer.textContent = text;
}

/**
 * Where an address leads. A view is added here, in one line: `address` is matched against what stands after `#/` and
 * before `?`; `open` is given the match and what stands behind `?`; `tab`, in the row at the top, is what leads there.
 * An address without a tab shows that of `under`.
 *
 * A view has `element`, `title` and `close()`. One that changes its own address does so with `rewriteQuery` of address.js.
 */
const ROUTES = [
  { address: /^$/, open: (_, query) => new ListView(announce, query), tab: { text: "Scans", href: "#/" } },
  { address: /^scan\/([^/]+)$/, open: ([, id], query) => openScan(id, (scanId) => new ScanView(scanId, announce, query)), under: "#/" },
  { address: /^past$/, open: (_, query) => new PastView(announce, query), tab: { text: "Past", href: "#/past" } },
  { address: /^compare\/([^/]+)(?:\/([^/]+))?$/, open: ([, scan, other]) => openTwo(scan, other), under: "#/past" },
  { address: /^pipeline$/, open: () => new PipelineView(announce), tab: { text: "Pipeline", href: "#/pipeline" } },
];

/** The comparison of two scans, each `ID` or `ID@EPOCH` as it stands in an address; null when one is none. */
function openTwo(encoded, encodedOther) {
  const [scan, other] = [encoded, encodedOther].map((text) => (text === undefined ? null : decoded(text)));
  const valid = [scan, other].every((text) => text === null || (SCAN_ID.test(text.split("@")[0]) && /^[^@]+(@\d{1,15})?$/.test(text)));
  return valid ? new CompareView(scan, other, announce) : null;
}

function openView() {
  const [address, query] = splitHash();
  for (const route of ROUTES) {
    const match = address.match(route.address);
    const opened = match && route.open(match, new URLSearchParams(query));
    if (opened) {
      showTab(route.tab?.href ?? route.under);
      return opened;
    }
  }
  showTab(null);
  return new NotFound();
}

/** [what stands after `#/`, what stands behind its `?`] */
function splitHash() {
  const [address, ...query] = location.hash.replace(/^#\/?/, "").split("?");
  return [address, query.join("?")];
}

/** What `make` makes of a scan's id as it stands in an address; null when it is none. */
function openScan(encoded, make) {
  const scanId = decoded(encoded);
  return SCAN_ID.test(scanId) ? make(scanId) : null;
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
      h("p", {}, "This address leads nowhere."),
      h("p", {}, h("a", { href: "#/" }, "All scans"))));
  }

  close() {}
}

const tabs = new Map();
for (const { tab } of ROUTES.filter((route) => route.tab)) {
  const link = h("a", { class: "tab", href: tab.href }, tab.text);
  tabs.set(tab.href, link);
  document.getElementById("tabs").append(link);
}

function showTab(current) {
  for (const [href, link] of tabs) setAttribute(link, "aria-current", href === current ? "page" : null);
}

function route() {
  const first = view === null;
  view?.close();
  view = session.isNeeded ? new SignInView() : openView();
  main.replaceChildren(view.element);
  document.title = view.title;
  if (!first) {
    if (view instanceof SignInView) view.focus();
    else main.focus({ preventScroll: true });
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
  setText(healthText, state === "unready" ? `not ready: ${text}` : text);
}

// "#main" is the skip link's own address and must not change the view.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", route);
// The address stays while somebody signs in: then it leads where they were.
session.addEventListener("change", () => {
  announce(""); // it may have named a scan
  route();
});
route();
new AccountControl(document.getElementById("account"));
// What the view asks for comes first.
Promise.resolve(view.settled).then(() => {
  findOut(request);
  new Poll(checkHealth, HEALTH_POLL_MS);
});
new Notifications(
  document.getElementById("bell"),
  () => ({ scanId: view instanceof ScanView ? view.scanId : null, shows: view instanceof ScanView || view instanceof ListView }),
  announce,
);
