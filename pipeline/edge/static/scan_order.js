/** Which scans a list shows, in which order, and what they add up to. Pure: no DOM, no clock. */

import { SEVERITIES } from "./format.js";

/** What a scan can be, those first that somebody should look at. */
export const STATUSES = ["orphaned", "stalled", "running", "failed", "completed"];
const UNDER_WAY = new Set(["orphaned", "stalled", "running"]);

/** Whether a scan has not ended. */
export function isUnderWay({ status }) {
  return UNDER_WAY.has(status);
}

const byId = (a, b) => (a.scan_id < b.scan_id ? -1 : Number(a.scan_id > b.scan_id));
const byStart = (a, b) => Number(a.started_at < b.started_at) - Number(a.started_at > b.started_at) || byId(a, b);
const rank = ({ status }) => (UNDER_WAY.has(status) ? STATUSES.indexOf(status) : STATUSES.length);
const progress = (scan) => (UNDER_WAY.has(scan.status) ? (scan.progress ?? 0) : -1);
const named = (scan) => (scan.name || scan.scan_id).toLowerCase();

/** Orders by their name in an address; the first is the usual one. `lively`: it changes with every event. */
export const ORDERS = new Map([
  ["importance", { label: "Importance", compare: (a, b) => rank(a) - rank(b) || byStart(a, b) }],
  ["started", { label: "Newest first", compare: byStart }],
  ["progress", { label: "Progress", lively: true, compare: (a, b) => progress(b) - progress(a) || byStart(a, b) }],
  ["rate", { label: "Events per second", lively: true, compare: (a, b) => b.events_per_s - a.events_per_s || byStart(a, b) }],
  ["name", { label: "Name", compare: (a, b) => (named(a) < named(b) ? -1 : Number(named(a) > named(b))) || byId(a, b) }],
]);

/**
 * Return the scans that a list shows.
 *
 * @param {Iterable<object>} scans entries as the edge tells them
 * @param {{search: string, status: string, order: string}} wanted `search`: words that all must stand somewhere in a
 *   scan's id, name, targets, labels or owner; `status` "": any; an `order` that is none is the usual one
 * @returns {{shown: object[], statuses: Map<string, number>}} in order; and of those found, how many have which status
 */
export function arrange(scans, { search, status, order }) {
  const words = search.toLowerCase().split(/\s+/).filter((word) => word !== "");
  const statuses = new Map(STATUSES.map((one) => [one, 0]));
  const shown = [];
  for (const scan of scans) {
    if (words.length > 0 && !isFound(scan, words)) continue;
    statuses.set(scan.status, (statuses.get(scan.status) ?? 0) + 1);
    if (status === "" || scan.status === status) shown.push(scan);
  }
  const { compare } = ORDERS.get(order) ?? ORDERS.get("importance");
  return { shown: shown.sort(compare), statuses };
}

const texts = new WeakMap();

function isFound(scan, words) {
  let text = texts.get(scan);
  if (text === undefined) {
    const labels = Object.entries(scan.labels ?? {}).map(([name, value]) => `${name}=${value}`);
    text = [scan.scan_id, scan.name, scan.owner, ...(scan.targets ?? []), ...labels].join("\n").toLowerCase();
    texts.set(scan, text);
  }
  return words.every((word) => text.includes(word));
}

/** Return what scans add up to: events, events a second, and things found. */
export function addUp(scans) {
  const sums = { events: 0, perSecond: 0, hosts: 0, openPorts: 0, services: 0, vulnerabilities: 0, severities: {} };
  for (const severity of SEVERITIES) sums.severities[severity] = 0;
  for (const { event_count: events, events_per_s: perSecond, totals } of scans) {
    sums.events += events;
    sums.perSecond += perSecond;
    sums.hosts += totals.hosts;
    sums.openPorts += totals.open_ports;
    sums.services += totals.services;
    for (const severity of SEVERITIES) {
      const number = totals.vulnerabilities[severity] ?? 0;
      sums.severities[severity] += number;
      sums.vulnerabilities += number;
    }
  }
  return sums;
}
