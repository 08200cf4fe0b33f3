/** The pipeline, for whoever operates it: every stage, what passes, who reads, and what is wrong. */

import { fetchConnections, fetchPipeline, Forbidden, Poll } from "./api.js";
import { ConnectionTable } from "./connection_table.js";
import { h, setAttribute, setText } from "./dom.js";
import { byteRate, count, plain, plural, rate } from "./format.js";
import { meaning, refusals, total, troubles, workers } from "./pipeline_book.js";
import { StageColumn } from "./stage_cards.js";

const POLL_MS = 1_000;

export class PipelineView {
  /** @param {(text: string) => void} announce says a change to a screen reader */
  constructor(announce) {
    this.announce = announce;
    this.title = "Pipeline · scanstream";
    this.said = null;
    this.summary = h("p", { class: "summary", testid: "pipeline-summary" }, "asking every stage …");
    this.verdict = h("ul", { class: "verdict", testid: "verdict", "data-level": "unknown" }, h("li", {}, "…"));
    this.ingests = new StageColumn("ingest", "Ingest", "checks what scanners send");
    this.shards = new StageColumn("shard", "Shards", "number it, keep it, and cut it into frames");
    this.edges = new StageColumn("edge", "Edges", "give it to every reader");
    this.notify = new StageColumn("notify", "Notify", "tells others how scans end");
    this.aside = h("div", { class: "flow-aside", hidden: true }, this.notify.element);
    this.refused = new RefusalTable();
    this.connections = new ConnectionTable();
    this.element = h(
      "div",
      { class: "page pipeline-page" },
      h("div", { class: "page-head" }, h("h1", {}, "Pipeline"), this.summary),
      this.verdict,
      h("div", { class: "flow" }, this.ingests.element, this.shards.element, this.edges.element),
      this.aside,
      this.connections.element,
      this.refused.element,
    );
    this.poll = new Poll((signal) => this.#ask(signal), POLL_MS);
  }

  close() {
    this.poll.close();
  }

  async #ask(signal) {
    try {
      const [{ stages }, connections] = await Promise.all([fetchPipeline(signal), fetchConnections(signal)]);
      if (signal.aborted) return;
      this.#show(stages);
      this.connections.update(connections);
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof Forbidden) {
        this.poll.close();
        setText(this.summary, "");
        this.#judge([["bad", "", error.message]]);
        return;
      }
      for (const column of [this.ingests, this.shards, this.edges, this.notify]) column.forget();
      this.#judge([["bad", "", `${error.message} This is what was last known.`]]);
    }
  }

  #show(stages) {
    const of = (kind) => stages.filter(({ stage }) => stage === kind);
    const [ingests, shards, edges, notify] = [of("ingest"), of("shard"), of("edge"), of("notify")];
    this.ingests.update(ingests, (all) => plural(all.length, "process", "processes"));
    this.shards.update(shards, (all) => `${count(all.length)}, ${plural(workers(all.filter(({ alive }) => alive)).size, "worker")}`);
    this.edges.update(edges, (all) => `${plural(all.length, "process", "processes")}, ${plural(all.reduce((sum, { readers }) => sum + readers.open, 0), "reader")}`);
    this.notify.update(notify, () => "");
    this.aside.hidden = notify.length === 0;
    this.refused.update(refusals(stages));
    setText(this.summary, `${rate(total(ingests, "events_per_s"))} events/s in · ${rate(total(shards, "frames_per_s"))} frames/s · ${rate(total(edges, "messages_per_s"))} messages/s and ${byteRate(total(edges, "bytes_per_s"))} out`);
    this.#judge(troubles(stages), stages);
  }

  /** Say what is wrong, at the top, and aloud when it is another than before. */
  #judge(found, stages = []) {
    const good = found.length === 0;
    const lines = good ? [`All ${count(stages.length)} stages are well.`] : grouped(found);
    setAttribute(this.verdict, "data-level", good ? "good" : found[0][0]);
    const said = lines.join(". ");
    if (said === this.said) return;
    if (this.said !== null || !good) this.announce(said);
    this.said = said;
    this.verdict.replaceChildren(...lines.map((line) => h("li", {}, line)));
  }
}

/** "shard-1, shard-3: does not answer": stages with the same trouble in one line. */
function grouped(found) {
  const lines = new Map();
  for (const [, name, text] of found) lines.set(text, [...(lines.get(text) ?? []), name]);
  return [...lines].map(([text, names]) => {
    const shown = names.filter((name) => name !== "").map((name) => plain(name, 40));
    return shown.length ? `${shown.slice(0, 8).join(", ")}${shown.length > 8 ? ` and ${shown.length - 8} more` : ""}: ${text}` : text;
  });
}

/** What was not taken, why, and what that means. */
class RefusalTable {
  constructor() {
    this.drawn = "";
    this.count = h("span", { class: "muted" });
    this.body = h("tbody", {});
    this.none = h("p", { class: "muted table-none" }, "Nothing was rejected, dropped or malformed since the stages were started.");
    this.table = h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Table of what was not taken", hidden: true },
      h("table", { class: "table" },
        h("thead", {}, h("tr", {}, ...["What", "Reason", "Times", "Where", "What it means"].map((head) => h("th", { scope: "col", class: head === "Times" ? "number" : null }, head)))),
        this.body));
    this.element = h("section", { class: "card", "aria-label": "Not taken", testid: "refusals" },
      h("header", { class: "card-head" }, h("h2", {}, "Not taken"), this.count), this.table, this.none);
  }

  update(found) {
    const drawn = JSON.stringify(found);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.none.hidden = found.length > 0;
    this.table.hidden = found.length === 0;
    setText(this.count, found.length ? "since the stages were started" : "");
    this.body.replaceChildren(...found.map((one) =>
      h("tr", { testid: "refusal", "data-reason": one.reason },
        h("td", {}, one.what), h("th", { scope: "row" }, plain(one.reason, 60)), h("td", { class: "number" }, count(one.number)),
        h("td", {}, one.stages.map((name) => plain(name, 40)).join(", ")), h("td", { class: "cell-text" }, meaning(one)))));
  }
}
