/** The head of the scan view: name, status, connection, phases, progress, the time that is left. */

import { h, progressBar, setAttribute, setText } from "./dom.js";
import { count, duration, percent, timeLeft, withoutStart } from "./format.js";

const TARGETS_SHOWN = 3;
/** A scan that is not there after so long is told not to be. */
const PATIENCE_MS = 3_000;
const WARNINGS = new Map([
  ["stalled", "nothing comes from the scanner"],
  ["orphaned", "the scanner is gone"],
]);

export class ScanHeader {
  /**
   * @param {string} scanId
   * @param {() => void} onRetry the reader wants to connect now
   */
  constructor(scanId, onRetry) {
    this.drawnPhases = "";
    this.waitsSince = null;
    this.status = h("span", { class: "badge", testid: "status" });
    this.warning = h("span", { class: "tag tag-warning", hidden: true });
    this.effort = h("span", { class: "tag", hidden: true, title: "Came over plain PUSH: what is lost on the way is not noticed" }, "best effort");
    this.connection = h("span", { class: "pill", testid: "connection-state" });
    this.retry = h("button", { class: "button button-small", type: "button", hidden: true }, "Try now");
    this.retry.addEventListener("click", onRetry);
    this.about = h("p", { class: "scan-about", testid: "about" });
    this.phases = h("ol", { class: "phases", tabindex: 0, "aria-label": "Phases" });
    this.phaseTime = null;
    this.phase = h("span", { class: "phase-now", testid: "phase" });
    this.bar = progressBar(`Progress of ${scanId}`);
    this.percent = h("span", { class: "percent number" });
    this.message = h("p", { class: "message", testid: "message" });
    this.left = h("span", { class: "time-left", testid: "time-left" });
    this.element = h(
      "header",
      { class: "card scan-header" },
      h("div", { class: "scan-title" },
        h("h1", {}, scanId), this.status, this.warning, this.effort, h("span", { class: "spring" }), this.retry, this.connection),
      this.about,
      this.phases,
      h("div", { class: "progress-line" }, this.bar.element, this.percent),
      h("div", { class: "message-line" }, this.phase, this.message, this.left),
    );
  }

  /**
   * @param {import("./scan_model.js").ScanModel} model
   * @param {boolean} ended the server gave this page nothing, and will not
   * @param {number} now monotonic milliseconds
   */
  update(model, ended, now) {
    const { progress } = model;
    const status = ended && model.status === "waiting" ? "unavailable" : model.status;
    setText(this.status, status);
    setAttribute(this.status, "data-status", status);
    const warning = WARNINGS.get(status) ?? "";
    setText(this.warning, warning);
    this.warning.hidden = warning === "";
    this.effort.hidden = !model.bestEffort;
    if (model.epoch !== null) setText(this.about, aboutText(model.about));
    this.bar.set(progress.percent, model.status);
    setText(this.percent, percent(progress.percent));
    setText(this.phase, status === "unavailable" ? status : currentPhase(model));
    setText(this.message, model.errorMessage || withoutStart(model.message, progress.phase?.name ?? ""));
    this.message.classList.toggle("is-error", model.errorMessage !== "");
    this.#drawPhases(model);
    this.tick(model, now);
  }

  /** What moves with time alone. */
  tick({ progress, status, finished }, now) {
    setText(this.left, status === "waiting" ? "" : finished ? timeTaken(status, progress.elapsed(now)) : timeLeft(progress.left(now)));
    if (this.phaseTime !== null) setText(this.phaseTime, phaseDuration(progress.phase, progress.elapsed(now)));
  }

  /**
   * Show the state of the connection.
   *
   * @param {{name: string, reason: string, retryAt: number | null}} state
   * @param {import("./scan_model.js").ScanModel} model
   * @param {number} behind events that are published and not here yet
   * @param {number} now monotonic milliseconds
   */
  connectionState({ name, reason, retryAt }, { degraded: silent, finished }, behind, now) {
    const over = finished && behind <= 0; // all of it is here: no connection makes a difference
    const degraded = silent && !over;
    const texts = {
      connecting: "connecting …",
      waiting: "waiting for the scan to start",
      live: over ? "ended" : degraded ? "live, degraded" : behind > 0 ? `live, ${count(behind)} behind` : "live",
      reconnecting: `reconnecting in ${Math.max(0, Math.ceil(((retryAt ?? now) - now) / 1000))} s`,
      ended: reason ? `ended: ${reason}` : "ended",
      resting: "resting",
    };
    if (name !== "waiting") this.waitsSince = null;
    else if (now - (this.waitsSince ??= now) >= PATIENCE_MS && !this.about.firstElementChild) {
      this.about.replaceChildren(h("a", { href: "#/" }, "All scans"), " · no scan of this id yet; waiting");
    }
    setText(this.connection, texts[name]);
    setAttribute(this.connection, "data-state", name);
    setAttribute(this.connection, "data-degraded", degraded ? "" : null);
    setAttribute(this.connection, "data-over", over && name === "live" ? "" : null);
    setAttribute(this.connection, "title", reason || null);
    this.retry.hidden = name !== "reconnecting" || retryAt - now < 1000;
  }

  #drawPhases({ progress: { phases, phasesLeftOut, phase }, status }) {
    const state = (one) => (one !== phase || status === "completed" ? "done" : status === "failed" ? "failed" : "now");
    const drawn = phases.map((one) => `${state(one)} ${one.key} ${one.leftS}`).join("\n");
    if (drawn === this.drawnPhases) return;
    this.drawnPhases = drawn;
    this.phaseTime = null;
    const chips = phases.map((one) => this.#phaseChip(one, state(one)));
    if (phasesLeftOut > 0) chips.push(h("li", { class: "phase phase-more" }, `${count(phasesLeftOut)} more`));
    this.phases.replaceChildren(...chips);
    // Once it is laid out: asked for now, that would be done once more.
    requestAnimationFrame(() => (this.phases.scrollLeft = this.phases.scrollWidth));
  }

  #phaseChip(phase, state) {
    const time = h("span", { class: "phase-time number" }, state === "now" ? "" : phaseDuration(phase, null));
    if (state === "now") this.phaseTime = time;
    const title = `began ${duration(phase.startedS)} after the scan's start${phase.percent === null ? "" : `, reached ${percent(phase.percent)}`}`;
    return h("li", { class: "phase", testid: "phase-chip", "data-state": state, "aria-current": state === "now" ? "step" : null, title },
      h("span", { class: "phase-name" }, phase.name || "(unnamed)"), time);
  }
}

function phaseDuration({ startedS, leftS }, elapsedS) {
  const end = leftS ?? elapsedS;
  return end === null ? "" : duration(Math.max(0, end - startedS));
}

function timeTaken(status, elapsedS) {
  if (elapsedS === null) return "";
  return status === "failed" ? `after ${duration(elapsedS)}` : `took ${duration(elapsedS)}`;
}

function aboutText({ name, targets, targetsLeftOut }) {
  const more = targets.length + targetsLeftOut - TARGETS_SHOWN;
  const listed = targets.slice(0, TARGETS_SHOWN).join(", ") + (more > 0 ? ` and ${count(more)} more` : "");
  return [name, listed].filter(Boolean).join(" · ");
}

function currentPhase({ status, progress: { phase, finalising } }) {
  if (status === "waiting") return "not started";
  if (status === "completed") return "completed";
  if (finalising) return "finalising";
  return phase?.name || (status === "failed" ? "failed" : "starting");
}
