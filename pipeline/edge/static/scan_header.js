/** The head of the scan view: name, status, connection, phases, progress. */

import { h, progressBar, setAttribute, setText } from "./dom.js";
import { percent, phaseName } from "./format.js";

const PHASES_SHOWN = 8;

export class ScanHeader {
  /**
   * @param {string} scanId
   * @param {() => void} onRetry the reader wants to connect now
   */
  constructor(scanId, onRetry) {
    this.drawnPhases = "";
    this.status = h("span", { class: "badge", testid: "status" });
    this.warning = h("span", { class: "tag tag-warning", hidden: true });
    this.connection = h("span", { class: "pill", testid: "connection-state" });
    this.retry = h("button", { class: "button button-small", type: "button", hidden: true }, "Try now");
    this.retry.addEventListener("click", onRetry);
    this.phases = h("ol", { class: "phases", "aria-label": "Phases" });
    this.phase = h("span", { class: "phase-now", testid: "phase" });
    this.bar = progressBar(`Progress of ${scanId}`);
    this.percent = h("span", { class: "percent number" });
    this.message = h("p", { class: "message", testid: "message" });
    this.element = h(
      "header",
      { class: "card scan-header" },
      h("div", { class: "scan-title" },
        h("h1", {}, scanId), this.status, this.warning, h("span", { class: "spring" }), this.retry, this.connection),
      this.phases,
      h("div", { class: "progress-line" }, this.bar.element, this.percent),
      h("div", { class: "message-line" }, this.phase, this.message),
    );
  }

  /**
   * @param {import("./scan_model.js").ScanModel} model
   * @param {boolean} ended the server gave this page nothing, and will not
   */
  update(model, ended) {
    const status = ended && model.status === "waiting" ? "unavailable" : model.status;
    setText(this.status, status);
    setAttribute(this.status, "data-status", status);
    const warning = model.orphaned ? "scanner gone" : model.silent ? "no sign of life" : "";
    setText(this.warning, warning);
    this.warning.hidden = warning === "";
    this.bar.set(model.progress, model.status);
    setText(this.percent, percent(model.progress));
    setText(this.phase, status === "unavailable" ? status : currentPhase(model));
    setText(this.message, model.errorMessage || model.message);
    this.message.classList.toggle("is-error", model.errorMessage !== "");
    this.#drawPhases(model);
  }

  /**
   * Show the state of the connection.
   *
   * @param {{name: string, reason: string, retryAt: number | null}} state
   * @param {boolean} degraded part of the pipeline behind the connection does not answer
   * @param {number} now monotonic milliseconds
   */
  connectionState({ name, reason, retryAt }, degraded, now) {
    const texts = {
      connecting: "connecting …",
      waiting: "waiting for the scan to start",
      live: degraded ? "live, degraded" : "live",
      reconnecting: `reconnecting in ${Math.max(0, Math.ceil(((retryAt ?? now) - now) / 1000))} s`,
      ended: reason ? `ended: ${reason}` : "ended",
    };
    setText(this.connection, texts[name]);
    setAttribute(this.connection, "data-state", name);
    setAttribute(this.connection, "data-degraded", degraded ? "" : null);
    setAttribute(this.connection, "title", reason || null);
    this.retry.hidden = name !== "reconnecting" || retryAt - now < 1000;
  }

  #drawPhases({ phases, phase, status }) {
    const shown = phases.slice(-PHASES_SHOWN);
    const state = (one) => (one !== phase || status === "completed" ? "done" : status === "failed" ? "failed" : "now");
    const drawn = shown.map((one) => `${state(one)} ${one.name}`).join("\n");
    if (drawn === this.drawnPhases) return;
    this.drawnPhases = drawn;
    this.phases.replaceChildren(
      ...shown.map((one) =>
        h("li", { class: "phase", "data-state": state(one), "aria-current": state(one) === "now" ? "step" : null }, one.name)),
    );
    this.phases.lastElementChild?.scrollIntoView?.({ block: "nearest", inline: "end" });
  }
}

function currentPhase({ status, phase }) {
  if (status === "waiting") return "not started";
  if (status === "completed") return "completed";
  return phaseName(phase?.name) || (status === "failed" ? "failed" : "starting");
}
