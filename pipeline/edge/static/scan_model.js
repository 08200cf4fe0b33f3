/**
 * One scan as it stands: folds the edge's messages into what the scan view shows. Pure: told the time, no DOM.
 *
 * | what          | rule                                                                                   |
 * |---------------|----------------------------------------------------------------------------------------|
 * | status        | waiting -> running at the first event -> completed or failed at the terminal one       |
 * | progress      | 0..100, never back within a phase; 100 only when completed; rubbish is ignored         |
 * | phase's start | its own progress is an announcement: the first measured value replaces it              |
 * | ledger        | events + merged + filtered = seq reached, unless something was missed; then it is told |
 * | rate          | only events past the head the hello named: replay is not the scan's speed              |
 */

import { phaseName, plain, plural } from "./format.js";
import { HostBook } from "./host_book.js";
import { RateMeter } from "./rate_meter.js";

/** The most findings kept for the feed: the latest. */
export const MAX_FINDINGS = 500;
const MAX_NOTICES = 50;
const MAX_PHASES = 40;
const HIGHEST_UNFINISHED = 99.9;

/**
 * @typedef {{id: number, seq: number, kind: string, severity: string, title: string, detail: string, where: string}} Finding
 *   severity is "" for what is no vulnerability; id counts from 1
 * @typedef {{id: number, level: "info" | "warning" | "error", text: string}} Notice
 * @typedef {{name: string, announced: number | null, measured: number | null}} Phase progress in percent
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
    this.silent = false;
    this.orphaned = false;
    this.degraded = false;
    this.message = "";
    this.errorMessage = "";
    /** @type {number | null} seconds, as the scanner says at its end */
    this.duration = null;
    /** @type {Phase[]} in order of appearance */
    this.phases = [];
    /** @type {Phase | null} */
    this.phase = null;
    this.book = new HostBook();
    /** @type {Finding[]} oldest first */
    this.findings = [];
    this.findingCount = 0;
    this.ledger = { frames: 0, events: 0, merged: 0, filtered: 0, missed: 0 };
    this.epoch = null;
    this.seq = 0;
    this.head = 0;
    this.meter = new RateMeter();
  }

  /** Percent of the current phase, of the scan when it is completed; null before anything happened. */
  get progress() {
    if (this.status === "completed") return 100;
    if (this.status === "waiting") return null;
    return Math.min(this.phase?.measured ?? this.phase?.announced ?? 0, HIGHEST_UNFINISHED);
  }

  get finished() {
    return this.status === "completed" || this.status === "failed";
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
        break;
      case "batch":
        this.#batch(message, now);
        break;
      case "reset":
        this.clear();
        this.#notice("warning", `starting over: ${RESETS.get(message.reason) ?? plain(message.reason)}`);
        break;
      case "gap":
        this.#notice("warning", `${plural(message.first - message.expected, "event")} before ${message.first} did not come: asking for them again`);
        break;
      case "lag":
        this.ledger.missed += message.skippedMessages;
        this.#notice("warning", `${plural(message.skippedMessages, "event")} left out: ${plain(message.reason) || "too slow"}`);
        break;
      case "degraded":
        this.degraded = message.degraded === true;
        if (this.degraded) this.#notice("warning", "the scan's worker does not answer: what is shown may be behind");
        break;
      case "error":
        this.#notice(message.temporary ? "warning" : "error", plain(message.message) || plain(message.code));
        break;
    }
  }

  #batch({ epoch, seq: [first, last], merged = 0, filtered = 0, at, events }, now) {
    const { ledger } = this;
    if (ledger.frames === 0 && first > 1) {
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
    events.forEach((event, i) => this.#fold(event, first + (at?.[i] ?? i)));
  }

  #fold(event, seq) {
    if (this.status === "waiting") this.status = "running";
    if (!(event.type === "scanStalled" || event.type === "scanOrphaned")) this.silent = false;
    FOLDS.get(event.type)?.(this, event, seq);
  }

  /** Enter a phase, new or seen before; past 40 phases a new one takes the place of the oldest. */
  enter(name) {
    if (this.phase?.name === name) return this.phase;
    this.phase = this.phases.find((phase) => phase.name === name) ?? null;
    if (this.phase === null) {
      this.phase = { name, announced: null, measured: null };
      this.phases.push(this.phase);
      if (this.phases.length > MAX_PHASES) this.phases.shift();
    }
    return this.phase;
  }

  end(status) {
    if (!this.finished) this.status = status;
    this.orphaned = false;
  }

  find(seq, kind, { severity = "", title, detail = "", where = "" }) {
    this.findingCount += 1;
    this.findings.push({ id: this.findingCount, seq, kind, severity, title, detail, where });
    // Cut rarely and in one go, so that a finding costs the same whether the feed is full or not.
    if (this.findings.length >= 2 * MAX_FINDINGS) this.findings = this.findings.slice(-MAX_FINDINGS);
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

/** Why a page starts over. */
const RESETS = new Map([
  ["restarted", "the scan was started again"],
  ["forgotten", "what was missed is no longer held, and the scan was started again"],
  ["not_held", "what was missed is no longer held: built anew"],
]);

/** Percent from whatever a producer sent; null when it is no number. */
function honestPercent(value) {
  return Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : null;
}

function endpoint(event) {
  const ip = plain(event.ip, 64);
  return Number.isInteger(event.port) ? `${ip.includes(":") ? `[${ip}]` : ip}:${event.port}` : ip;
}

/** What each type of event does; a type that is not here is only counted. */
const FOLDS = new Map([
  ["phaseStarted", (model, event) => {
    const phase = model.enter(phaseName(event.phase));
    phase.announced = Math.max(phase.announced ?? 0, honestPercent(event.progress) ?? 0);
    model.message = "";
  }],
  ["scanProgress", (model, event) => {
    const phase = model.enter(phaseName(event.phase));
    const measured = honestPercent(event.progress);
    if (measured !== null) phase.measured = Math.max(phase.measured ?? 0, measured);
    model.message = plain(event.message);
  }],
  ["scanCompleted", (model, event) => {
    model.end("completed");
    model.message = "";
    if (Number.isFinite(event.duration)) model.duration = event.duration;
  }],
  ["error", (model, event) => {
    const text = plain(event.message);
    if (event.fatal === false) {
      model.notice("warning", text);
    } else {
      model.end("failed");
      model.errorMessage = text;
      model.notice("error", text);
    }
  }],
  ["hostDiscovered", (model, event) => model.book.discovered(event)],
  ["portFound", (model, event) => model.book.port(event)],
  ["serviceDetected", (model, event) => model.book.service(event)],
  ["vulnerabilityFound", (model, event, seq) => {
    model.book.vulnerability(event, seq);
    const severity = Object.hasOwn(model.book.severities, event.severity) ? event.severity : "Info";
    model.find(seq, "vulnerability", {
      severity, title: plain(event.title), detail: plain(event.cve_id, 40), where: endpoint(event),
    });
  }],
  ["enumerationFinding", (model, event, seq) => model.find(seq, plain(event.finding_type, 40) || "enumeration", {
    title: plain(event.value), where: endpoint(event),
  })],
  ["dnsRecordFound", (model, event, seq) => model.find(seq, `DNS ${plain(event.record_type, 10)}`, {
    title: plain(event.value), where: plain(event.domain),
  })],
  ["subdomainFound", (model, event, seq) => model.find(seq, "subdomain", { title: plain(event.subdomain) })],
  ["vpnError", (model, event) => model.notice("error", `VPN ${plain(event.config_name)}: ${plain(event.message)}`)],
  ["scanStalled", (model) => {
    model.silent = true;
    model.notice("warning", "no sign of life from the scanner");
  }],
  ["scanOrphaned", (model, event) => {
    model.orphaned = true;
    model.notice("error", plain(event.message) || "the scanner is gone");
  }],
  ["scanResumed", (model) => {
    model.orphaned = false;
    model.notice("info", "the scanner is back");
  }],
  ["lost", (model, event) => {
    model.ledger.missed += Number.isInteger(event.count) ? event.count : 0;
    model.notice("warning", `${plural(event.count, "event")} lost before they were numbered: ${plain(event.reason)}`);
  }],
]);
