/**
 * One scan, as it happens: ties the client, the model and the parts of the page together.
 *
 * | what                         | what the page does                                                                 |
 * |------------------------------|------------------------------------------------------------------------------------|
 * | opened, reloaded             | begins with a snapshot; the hosts that did not fit into it are fetched beside      |
 * | hidden for `REST_AFTER_MS`   | closes its stream: it costs nothing                                                |
 * | seen again after that        | begins with a snapshot, not with a backlog, and says what was missed               |
 * | connection lost              | goes on at its position; with more than `MAX_BACKLOG` events to come: a snapshot   |
 * | a lag, a position not held   | the snapshot that follows makes it right; it says what was missed                  |
 *
 * Messages are applied in animation frames, several in one picture. What else the page asks for waits until the scan
 * stands there, for `SETTLED_WITHIN_MS` at most.
 */

import { rewriteQuery } from "./address.js";
import { h } from "./dom.js";
import { FindingsFeed } from "./findings_feed.js";
import { percent } from "./format.js";
import { HostPages } from "./host_pages.js";
import { HostTable } from "./host_table.js";
import { missed } from "./missed.js";
import { Notices, Standing } from "./notices.js";
import { OwnPace } from "./own_pace.js";
import { Ledger, ScanFigures } from "./scan_figures.js";
import { ScanActions } from "./scan_actions.js";
import { ScanHeader } from "./scan_header.js";
import { ScanModel } from "./scan_model.js";
import { ScanStream } from "./scanstream.js";
import { session, UNAUTHORISED } from "./session.js";
import { StatsFeed } from "./stats_feed.js";

const TICK_MS = 1_000;
const REST_AFTER_MS = 5_000;
const MAX_BACKLOG = 20_000;
const SETTLED_WITHIN_MS = 500;

export class ScanView {
  /**
   * @param {string} scanId
   * @param {(text: string) => void} announce says a change to a screen reader
   * @param {URLSearchParams} query what the address says of filters, order and the opened host
   */
  constructor(scanId, announce, query = new URLSearchParams()) {
    this.scanId = scanId;
    this.announce = announce;
    this.model = new ScanModel();
    this.state = { name: "connecting", reason: "", retryAt: null };
    this.said = { status: "waiting", connection: "connecting" };
    /** What was shown when the page ceased to follow, why and when: told with the next snapshot. */
    this.left = null;
    this.lostAt = null;
    this.drawing = null;
    this.drawnAt = -Infinity;
    this.tickedAt = -Infinity;
    this.resting = null;
    this.pace = new OwnPace(() => this.#paceChanged());
    this.stream = null;
    /** @type {Promise<void>} the scan stands there, or does not come at once */
    this.settled = new Promise((resolve) => (this.settle = resolve));
    this.patience = setTimeout(this.settle, SETTLED_WITHIN_MS);
    if (!document.hidden) this.#connect(); // first: the answer is on its way while the page is built

    const chosen = (name) => query.get(name) ?? "";
    const onChoose = () => this.#showInAddress();
    this.header = new ScanHeader(scanId, () => this.stream.retryNow());
    this.actions = new ScanActions(scanId, announce, () => { location.hash = "#/past"; });
    this.figures = new ScanFigures();
    this.table = new HostTable({ order: chosen("order"), filter: chosen("hosts"), host: chosen("host") }, onChoose);
    this.feed = new FindingsFeed({ severity: chosen("severity"), kind: chosen("kind"), text: chosen("find") }, onChoose);
    this.notices = new Notices();
    this.standing = new Standing(announce);
    this.ledger = new Ledger();
    this.element = h(
      "div",
      { class: "page" },
      h("nav", { "aria-label": "Back" }, h("a", { class: "back", href: "#/" }, "← All scans")),
      this.header.element,
      this.actions.element,
      this.figures.element,
      h("div", { class: "columns" }, this.table.element, this.feed.element),
      this.notices.element,
      this.ledger.element,
      this.standing.element,
    );

    this.pages = new HostPages(scanId, (page, after) => this.#page(page, after));
    this.entry = null;
    this.onVisibility = () => (document.hidden ? this.#hidden() : this.#seen());
    document.addEventListener("visibilitychange", this.onVisibility);
    this.timer = setInterval(() => this.#tick(), TICK_MS);
    this.#draw();
    if (document.hidden) this.#rest();
    this.closed = false;
    this.stats = null;
    this.settled.then(() => {
      if (!this.closed) this.stats = new StatsFeed({ onChange: () => this.#stats(), onLost: () => {} });
    });
  }

  get title() {
    const { status, progress } = this.model;
    if (this.state.name === "resting") return `${this.scanId} · scanstream`;
    return `${status === "running" ? percent(progress.percent) : status} · ${this.scanId} · scanstream`;
  }

  close() {
    this.closed = true;
    this.settle();
    clearInterval(this.timer);
    clearTimeout(this.patience);
    clearTimeout(this.resting);
    cancelAnimationFrame(this.drawing);
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.stream?.close();
    this.stats?.close();
    this.pace.close();
    this.pages.stop();
    this.table.close();
  }

  // --- following --------------------------------------------------------------------------------

  /** Begin with a snapshot. */
  #connect() {
    this.stream?.close();
    this.model.forgetPace();
    this.stream = new ScanStream({
      scanId: this.scanId,
      begin: "snapshot",
      token: session.token,
      ack: true, // so that the edge learns how fast this page is, not only how fast the browser takes messages
      onMessages: (messages) => this.#apply(messages),
      onState: (state) => this.#connectionState(state),
    });
    this.stream.open();
  }

  #apply(messages) {
    const { model } = this;
    const now = performance.now();
    for (const message of messages) {
      if (message.type === "hello" && message.resumed && message.seq - model.seq > MAX_BACKLOG) {
        this.#leave("away", this.lostAt);
        this.#connect();
        return;
      }
      if (message.type === "hello") this.pace.greeted(message.connection_id);
      if (message.type === "lag" && message.reason === "too_slow") {
        this.#leave("lag", null);
        this.pace.lagged(now);
      }
      if (message.type === "reset" && message.reason === "not_held") this.#leave("away", this.lostAt);
      model.apply(message, now);
      if (message.type === "snapshot") this.#snapshot(message, now);
      if (message.type === "reset") this.pages.stop();
    }
    if (this.entry !== null) model.said(this.entry.entry, this.entry.at);
    this.lostAt = null;
    this.#sayStatus();
    if (!document.hidden) this.#draw();
    if (model.epoch !== null) this.settle();
  }

  #snapshot({ epoch, state }, now) {
    if (state.hosts_next === null) this.pages.stop();
    else this.pages.start(state.hosts_next, epoch);
    this.tickedAt = -Infinity;
    const { left } = this;
    this.left = null;
    const news = left && missed(left.standing, this.model.standing, left.why, left.at === null ? null : (now - left.at) / 1000);
    if (!news) return;
    this.standing.tellMissed(news.text);
    this.feed.markMissed(news);
  }

  #page(page, after) {
    this.model.page(page, after);
    this.#drawSoon();
  }

  /** The statistics have something new, maybe of this scan. */
  #stats() {
    const known = this.stats.scans.get(this.scanId) ?? null;
    if (known === this.entry || known === null) return;
    this.entry = known; // drawn with the next picture, within a second
    this.model.said(known.entry, known.at);
    if (known.entry.epoch === this.model.epoch) this.pace.head(known.entry.seq, known.at);
  }

  #paceChanged() {
    const { perS } = this.pace;
    if (perS < 10 && !(this.saidPace < 10)) {
      this.model.notice("warning", "this page does not keep up: it is given fewer, larger messages; nothing that was found is left out by that");
    }
    this.saidPace = perS;
    this.#drawSoon();
  }

  /** Remember what is shown, to tell later what was missed. */
  #leave(why, at) {
    this.left ??= { standing: this.model.standing, why, at };
  }

  // --- hidden -----------------------------------------------------------------------------------

  #hidden() {
    this.resting ??= setTimeout(() => this.#rest(), REST_AFTER_MS);
  }

  #rest() {
    this.#leave("hidden", performance.now());
    this.stream?.close();
    this.stream = null;
    this.pages.stop();
    this.#connectionState({ name: "resting", reason: "this page is hidden", retryAt: null });
    document.title = this.title;
  }

  #seen() {
    clearTimeout(this.resting);
    this.resting = null;
    if (this.stream === null) this.#connect();
    this.#draw();
  }

  // --- showing ----------------------------------------------------------------------------------

  #connectionState(state) {
    if (state.code === UNAUTHORISED) session.refused(session.token);
    this.state = state;
    if (state.name === "reconnecting") this.lostAt ??= performance.now();
    this.#drawSoon();
    // A first connection that works is what everyone expects; only what departs from it is said.
    if (state.name === "connecting" || state.name === "resting" || state.name === this.said.connection) return;
    if (!(state.name === "live" && this.said.connection === "connecting")) this.announce(`Connection: ${state.name} ${state.reason}`.trim());
    this.said.connection = state.name;
  }

  #sayStatus() {
    const { status, errorMessage } = this.model;
    if (status === this.said.status) return;
    this.said.status = status;
    this.tickedAt = -Infinity; // the times as well
    this.announce(`Scan ${this.scanId}: ${status}${errorMessage ? `, ${errorMessage}` : ""}`);
  }

  #showInAddress() {
    const { order, filter, host } = this.table.chosen;
    const { severity, kind, text } = this.feed.chosen;
    rewriteQuery({ hosts: filter, order, host, severity, kind, find: text });
  }

  #drawSoon() {
    if (document.hidden) return;
    this.drawing ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.drawing);
    this.drawing = null;
    const now = performance.now();
    const { model } = this;
    const { totals } = model;
    this.drawnAt = now;
    this.#drawTimes(now);
    this.header.update(model, this.state.name === "ended", now);
    this.actions.allow(model.epoch !== null, model.finished);
    this.figures.update(model);
    this.table.update(model.book, totals.hosts, this.pages.busy, now, model.finished);
    this.feed.update(model.findings, totals.severities.reduce((sum, number) => sum + number, 0) + model.findings.otherCount, model.finished);
    this.notices.update(model);
    this.standing.setDegraded(model.degraded && !model.finished);
    this.ledger.update(model, this.pace.perS);
    if (document.title !== this.title) document.title = this.title;
    this.header.connectionState(this.state, model, this.pace.behind, now);
  }

  /** What moves with time alone goes with a picture there is anyway; only where none was drawn for a second, in one of its own. */
  #tick() {
    if (!document.hidden && performance.now() - this.drawnAt >= TICK_MS / 2) this.#draw();
  }

  #drawTimes(now) {
    if (now - this.tickedAt < TICK_MS - 50) return;
    this.tickedAt = now;
    this.pace.check(this.model.seq, now);
    this.figures.tick(this.model, now);
  }
}
