/** The stages of the pipeline as cards: ingests, shards, edges, notify. */

import { h, setAttribute, setText } from "./dom.js";
import { byteRate, bytes, count, duration, plain, plural, rate } from "./format.js";
import { levelOf, PROBLEMS, Trend } from "./pipeline_book.js";
import { Sparkline } from "./sparkline.js";

/** One stage. `kind` says which figures it has. */
export class StageCard {
  constructor(name, kind) {
    this.kind = kind;
    this.trend = new Trend();
    this.state = h("span", { class: "pill", testid: "stage-state" });
    this.main = h("span", { class: "stage-rate number" });
    this.unit = h("span", { class: "muted" });
    this.spark = new Sparkline();
    this.facts = new Facts(FACTS[kind].map(([label]) => label));
    this.note = h("p", { class: "stage-note" });
    this.element = h(
      "li",
      { class: "stage card", testid: "stage", "data-stage": name },
      h("div", { class: "stage-head" }, h("h3", {}, name), this.state),
      h("div", { class: "stage-pulse" }, h("span", {}, this.main, this.unit), this.spark.element),
      this.facts.element,
      this.note,
    );
  }

  update(stage) {
    const level = levelOf(stage);
    setAttribute(this.element, "data-level", level);
    setText(this.state, stage.alive ? (level === "good" ? "alive" : plainProblem(stage.problems[0])) : "silent");
    setAttribute(this.state, "data-state", level === "good" ? "ready" : level === "bad" ? "failed" : "unready");
    const [value, unit] = MAIN[this.kind](stage);
    setText(this.main, stage.alive ? rate(value) : "–");
    setText(this.unit, unit);
    this.facts.update(FACTS[this.kind].map(([, text]) => text(stage)));
    setText(this.note, note(stage));
  }

  /** Nobody says any more how it is. */
  forget() {
    setAttribute(this.element, "data-level", "unknown");
    setText(this.state, "last known");
    setAttribute(this.state, "data-state", "unknown");
  }

  /** Once for each answer of the edge. */
  tick(stage) {
    this.trend.add(stage.alive ? MAIN[this.kind](stage)[0] : 0);
    this.spark.draw(this.trend.values);
  }
}

const MAIN = {
  ingest: ({ rates }) => [rates.events_per_s, " events/s in"],
  shard: ({ rates }) => [rates.events_per_s, " events/s"],
  edge: ({ rates }) => [rates.messages_per_s, " messages/s out"],
  notify: ({ rates }) => [rates.messages_per_s, " messages/s out"],
};

const FACTS = {
  ingest: [
    ["Bytes in", ({ rates }) => byteRate(rates.bytes_per_s)],
    ["Rejected", ({ rejected }) => count(sum(rejected))],
    ["Dropped", ({ dropped }) => count(sum(dropped))],
  ],
  shard: [
    ["Frames", ({ rates }) => (rates.frames_per_s === null ? "–" : `${rate(rates.frames_per_s)}/s · ${byteRate(rates.bytes_per_s)}`)],
    ["Scans", ({ channels }) => count(channels)],
    ["Queue", ({ queue }) => (queue.events === 0 ? "empty" : `${plural(queue.events, "event")}, ${bytes(queue.bytes)}`)],
    ["Journal", ({ journal }) => journalText(journal)],
  ],
  edge: [
    ["Bytes out", ({ rates }) => byteRate(rates.bytes_per_s)],
    ["Readers", ({ readers }) => readersText(readers)],
    ["Slowed", ({ readers }) => count(readers.behind)],
    ["Worst lag", ({ readers }) => plural(readers.lag, "event")],
  ],
  notify: [
    ["Delivered", ({ messages }) => count(messages.delivered)],
    ["Waiting", ({ messages }) => count(messages.waiting)],
    ["Hooks failing", ({ messages }) => count(messages.hooks_failing + messages.hooks_gone)],
  ],
};

function journalText({ writable, bytes: size, committed_s: committedS }) {
  if (writable === null) return "not known";
  const state = writable ? "" : "not writable · ";
  return `${state}${bytes(size)}${committedS === null ? "" : ` · ${committedS < 2 ? "just now" : `${duration(committedS)} ago`}`}`;
}

function readersText({ open, wires }) {
  const each = Object.entries(wires).map(([wire, number]) => `${count(number)} ${plain(wire, 20)}`);
  return each.length ? each.join(" · ") : count(open);
}

function plainProblem(problem) {
  return { readers_behind: "readers lag", hooks_failing: "hooks fail", other_version: "other version" }[problem] ?? plain(problem, 30);
}

/** What is wrong with it; else who it is. */
function note(stage) {
  const wrong = stage.problems.map((problem) => PROBLEMS[problem]?.text ?? plain(problem, 60));
  if (!stage.alive) wrong.push(stage.heard_s === null ? "was never heard" : `last heard ${duration(stage.heard_s)} ago`);
  if (wrong.length > 0) return wrong.join(" · ");
  const delay = stage.delay_s >= 0.001 ? `${Math.round(stage.delay_s * 1000)} ms` : "under 1 ms";
  return `${stage.stage === "shard" ? "worker process" : "process"} ${stage.pid} · up ${duration(stage.uptime_s)} · busy for ${delay} at most`;
}

/** Label and text, some of them. */
class Facts {
  constructor(labels) {
    this.texts = labels.map(() => h("dd", { class: "number" }));
    this.element = h("dl", { class: "facts" }, ...labels.map((label, i) => h("div", {}, h("dt", {}, label), this.texts[i])));
  }

  update(texts) {
    texts.forEach((text, i) => setText(this.texts[i], text));
  }
}

function sum(numbers) {
  return Object.values(numbers).reduce((total, number) => total + number, 0);
}

/** The stages of one kind, in a column of the flow. */
export class StageColumn {
  constructor(kind, title, about) {
    this.kind = kind;
    this.cards = new Map();
    this.count = h("span", { class: "muted" });
    this.list = h("ul", { class: "stages" });
    this.element = h("section", { class: "flow-column", "aria-label": title, "data-kind": kind },
      h("header", { class: "flow-head" }, h("h2", {}, title), this.count), h("p", { class: "muted" }, about), this.list);
  }

  /** There is no answer: what stands there is only what was last known. */
  forget() {
    for (const card of this.cards.values()) card.forget();
  }

  /** @param {object[]} stages of this kind @param {(stages: object[]) => string} say what stands beside the title */
  update(stages, say) {
    setText(this.count, say(stages));
    const gone = new Set(this.cards.keys());
    let place = this.list.firstElementChild;
    for (const stage of stages) {
      gone.delete(stage.name);
      let card = this.cards.get(stage.name);
      if (card === undefined) {
        card = new StageCard(stage.name, this.kind);
        this.cards.set(stage.name, card);
      }
      card.update(stage);
      card.tick(stage);
      if (card.element === place) place = place.nextElementSibling;
      else this.list.insertBefore(card.element, place);
    }
    for (const name of gone) {
      this.cards.get(name).element.remove();
      this.cards.delete(name);
    }
  }
}
