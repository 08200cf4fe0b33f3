/**
 * One scan as it stands: a snapshot, and the edge's messages folded into it. Pure: told the time, no DOM.
 *
 * | what     | rule                                                                                                |
 * |----------|-----------------------------------------------------------------------------------------------------|
 * | status   | waiting -> running at the first event; stalled, orphaned until something comes; completed or failed for good |
 * | snapshot | stands for every event up to its `seq`. Of the life that is shown it is merged into the table, whose rows stay; of another one everything begins anew |
 * | totals   | counted here when the table has everything; else the greater of this and what the worker says       |
 * | ledger   | events + merged + filtered = events since the snapshot, unless something was missed; then it is told |
 * | rate     | only events past the head the hello named: what is caught up with is not the scan's speed           |
 */

import { FindingLog } from "./finding_log.js";
import { plain, plural, SEVERITIES } from "./format.js";
import { HostBook } from "./host_book.js";
import { RateMeter } from "./rate_meter.js";
import { ScanProgress } from "./scan_progress.js";

const MAX_NOTICES = 50;

/**
 * @typedef {{id: number, level: "info" | "warning" | "error", text: string}} Notice
 * @typedef {{hosts: number, openPorts: number, services: number, severities: number[], exact: boolean}} Totals
 * @typedef {{epoch: number, seq: number, status: string, phase: string, totals: Totals}} Standing what is remembered to
 *   tell later what is new
 */

export class ScanModel {
  constructor() {
    /** @type {Notice[]} the latest 50; they outlive `clear`, for they may say why it happened */
    this.notices = [];
    this.noticeCount = 0;
    /** How often it was cleared: a view that kept something of an earlier life drops it. */
    this.lives = 0;
    this.clear();
  }

  /** Forget the scan: a new life of it follows, or everything comes again. */
  clear() {
    this.lives += 1;
    this.status = "waiting";
    /** The scan's worker does not answer. */
    this.degraded = false;
    this.message = "";
    this.errorMessage = "";
    /** What `scanStarted` says: the name and targets. */
    this.about = { name: "", targets: [], targetsLeftOut: 0 };
    this.bestEffort = false;
    this.progress = new ScanProgress();
    this.book = new HostBook();
    this.hostsLeftOut = 0;
    this.findings = new FindingLog();
    /** @type {Totals | null} the last that the worker said */
    this.saidTotals = null;
    this.ledger = { frames: 0, events: 0, merged: 0, filtered: 0, missed: 0, inSnapshot: 0 };
    this.epoch = null;
    this.seq = 0;
    this.head = 0;
    /** Up to which event a lag left facts out that no snapshot has brought yet; 0: none. */
    this.lagsTo = 0;
    /** Counts here, and what the worker said last, for as long as there is nothing to count from. */
    this.meter = new RateMeter();
    this.saidPerS = null;
  }

  get finished() {
    return this.status === "completed" || this.status === "failed";
  }

  /** Return what was found. @returns {Totals} */
  get totals() {
    const { book, saidTotals } = this;
    const counted = {
      hosts: book.hosts.length, openPorts: book.openPorts, services: book.serviceCount, severities: book.severities, exact: true,
    };
    if ((book.exact && this.lagsTo === 0 && this.hostsLeftOut === 0) || saidTotals === null) return { ...counted, exact: book.exact };
    const most = (name) => Math.max(counted[name], saidTotals[name]);
    return {
      hosts: most("hosts"), openPorts: most("openPorts"), services: most("services"),
      severities: saidTotals.severities.map((number, i) => Math.max(number, counted.severities[i])),
      exact: saidTotals.exact,
    };
  }

  /** Return what is to be remembered to tell later what is new; null before anything is known. @returns {Standing | null} */
  get standing() {
    if (this.epoch === null) return null;
    const { epoch, seq, status, totals, progress } = this;
    return { epoch, seq, status, phase: progress.phase?.name ?? "", totals: { ...totals, severities: [...totals.severities] } };
  }

  /**
   * Take one message of the edge, or a `gap` from the client.
   *
   * @param {object} message in the order they came
   * @param {number} now monotonic milliseconds
   */
  apply(message, now) {
    switch (message.type) {
      case "hello":
        this.head = message.seq;
        this.degraded = false; // it would be said again
        break;
      case "snapshot":
        this.#snapshot(message, now);
        break;
      case "batch":
        this.#batch(message, now);
        break;
      case "reset":
        if (message.reason !== "not_held") this.clear(); // else a snapshot follows, and merges
        this.#notice("warning", `starting over: ${RESETS.get(message.reason) ?? plain(message.reason)}`);
        break;
      case "gap":
        this.#notice("warning", `${plural(message.first - message.expected, "event")} before ${message.first} did not come: asking for them again`);
        break;
      case "lag":
        this.ledger.missed += message.skippedMessages;
        this.lagsTo = message.to;
        this.#notice("warning", `${plural(message.skippedMessages, "event")} left out: ${LAGS.get(message.reason) ?? plain(message.reason)}`);
        break;
      case "degraded":
        this.degraded = message.degraded === true;
        break;
      case "error":
        this.#notice(message.temporary ? "warning" : "error", plain(message.message) || plain(message.code));
        break;
    }
  }

  /** Take in what the statistics say of this scan. @param {object} entry as `/api/scans` lists it @param {number} at when it came */
  said(entry, at) {
    if (entry.epoch !== this.epoch) return;
    this.saidTotals = totalsOf(entry.totals);
    this.saidPerS = entry.events_per_s;
    this.progress.said(entry, entry.seq >= this.seq, at);
    if (!this.finished && entry.seq >= this.seq && PAUSES.has(entry.status)) this.status = entry.status;
  }

  #snapshot({ epoch, seq, state }, now) {
    if (this.epoch !== null && this.epoch !== epoch) this.clear();
    this.epoch = epoch;
    this.seq = seq;
    this.head = Math.max(this.head, seq);
    this.lagsTo = 0;
    this.ledger = { ...this.ledger, frames: 0, events: 0, merged: 0, filtered: 0, inSnapshot: seq };
    this.status = state.status;
    this.errorMessage = plain(state.error);
    this.message = plain(state.message);
    this.about = aboutOf(state);
    this.bestEffort = state.best_effort;
    this.saidTotals = totalsOf(state.totals);
    this.saidPerS = state.events_per_s;
    this.hostsLeftOut = state.hosts_left_out;
    this.progress.restore(state, now);
    this.findings.restore(state.findings, state.counts);
    this.book.awaitPages();
    this.book.merge(state.hosts, 0);
    if (state.hosts_next === null) this.book.allPagesCame();
  }

  #batch({ epoch, seq: [first, last], merged = 0, filtered = 0, at, events }, now) {
    const { ledger } = this;
    if (this.epoch === null && first > 1) {
      ledger.missed += first - 1;
      this.#notice("warning", `${plural(first - 1, "event")} before ${first} no longer held`);
    }
    ledger.frames += 1;
    ledger.events += events.length;
    ledger.merged += merged;
    ledger.filtered += filtered;
    this.epoch = epoch;
    this.seq = last;
    if (last > this.head) this.meter.add(last - Math.max(first - 1, this.head), now);
    events.forEach((event, i) => this.#fold(event, first + (at?.[i] ?? i), now));
    this.book.caughtUp(last);
  }

  #fold(event, seq, now) {
    if (this.status === "waiting" || (PAUSES.has(this.status) && !SILENCES.has(event.type))) this.status = "running";
    FOLDS.get(event.type)?.(this, event, seq, now);
  }

  /** Take in a page of hosts that did not fit into the snapshot. @param {object} page as the edge answers @param {number} after where it begins */
  page({ hosts, seq, next, left_out: leftOut }, after) {
    this.hostsLeftOut = leftOut;
    this.book.merge(hosts, after, seq > this.seq ? seq : 0);
    if (next === null) this.book.allPagesCame();
  }

  end(status, now) {
    this.message = "";
    if (this.finished) return;
    this.status = status;
    this.progress.end(status === "completed", now);
  }

  /** Count events a second anew: it was not followed for a while. */
  forgetPace() {
    this.meter = new RateMeter();
  }

  notice(level, text) {
    this.#notice(level, text);
  }

  #notice(level, text) {
    this.noticeCount += 1;
    this.notices.push({ id: this.noticeCount, level, text });
    if (this.notices.length > MAX_NOTICES) this.notices.shift();
  }
}

const PAUSES = new Set(["stalled", "orphaned"]);
const SILENCES = new Set(["scanStalled", "scanOrphaned"]);

/** Why a page starts over. */
const RESETS = new Map([
  ["restarted", "the scan was started again"],
  ["forgotten", "what was missed is no longer held, and the scan was started again"],
  ["went_back", "the server lost the last of what was shown: it goes on without"],
  ["not_held", "what was missed is no longer held: shown as the scan stands now"],
]);

/** Why events are left out. */
const LAGS = new Map([
  ["too_slow", "this page was too slow to take them"],
  ["no_longer_held", "they are no longer held"],
  ["damaged", "they are damaged on the server's disk"],
]);

/** @returns {Totals} */
function totalsOf({ hosts, open_ports: openPorts, services, vulnerabilities, exact }) {
  return { hosts, openPorts, services, severities: SEVERITIES.map((severity) => vulnerabilities[severity] ?? 0), exact };
}

function aboutOf({ name, targets, targets_left_out: targetsLeftOut = 0 }) {
  const listed = typeof targets === "string" ? [targets] : Array.isArray(targets) ? targets : [];
  return { name: plain(name), targets: listed.slice(0, 32).map((target) => plain(target)), targetsLeftOut };
}

/** What each type of event does; a type that is not here is only counted. */
const FOLDS = new Map([
  ["scanStarted", (model, event) => (model.about = aboutOf(event))],
  ["phaseStarted", (model, event, _, now) => {
    model.progress.report(event.phase, event.progress, now);
    model.message = "";
  }],
  ["scanProgress", (model, event, _, now) => {
    model.progress.report(event.phase, event.progress, now);
    model.message = plain(event.message);
  }],
  ["scanCompleted", (model, _event, _seq, now) => model.end("completed", now)],
  ["error", (model, event, _, now) => {
    const text = plain(event.message);
    model.notice(event.fatal === false ? "warning" : "error", text);
    if (event.fatal === false) return;
    model.errorMessage = text;
    model.end("failed", now);
  }],
  ["hostDiscovered", (model, event) => model.book.discovered(event)],
  ["portFound", (model, event) => model.book.port(event)],
  ["serviceDetected", (model, event) => model.book.service(event)],
  ["vulnerabilityFound", (model, event, seq) => {
    if (model.book.vulnerability(event, seq)) model.findings.add(event, seq);
  }],
  ["enumerationStarted", (model, event) => model.book.seen(event)],
  ["enumerationCompleted", (model, event) => model.book.seen(event)],
  ["enumerationFinding", (model, event, seq) => {
    model.book.seen(event);
    model.findings.add(event, seq);
  }],
  ["dnsRecordFound", (model, event, seq) => model.findings.add(event, seq)],
  ["subdomainFound", (model, event, seq) => model.findings.add(event, seq)],
  ["vpnError", (model, event) => model.notice("error", `VPN ${plain(event.config_name)}: ${plain(event.message)}`)],
  ["scanStalled", (model, event) => {
    if (model.status === "running") model.status = "stalled";
    model.notice("warning", `nothing has come from the scanner for ${Math.round(event.silent_s ?? 0)} s`);
  }],
  ["scanOrphaned", (model, event) => {
    if (!model.finished) model.status = "orphaned";
    model.notice("error", plain(event.message) || "the scanner is gone");
  }],
  ["scanResumed", (model) => model.notice("info", "the scanner is back")],
  ["lost", (model, event) => {
    model.ledger.missed += Number.isInteger(event.count) ? event.count : 0;
    model.notice("warning", `${plural(event.count, "event")} lost before they were numbered: ${plain(event.reason)}`);
  }],
]);
