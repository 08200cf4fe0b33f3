/**
 * How far a scan is: as its worker says it, and on from there by what its producers report. Pure: told the time.
 *
 * The worker makes percentages honest (docs/PROTOCOL.md, "Progress") and says so in a snapshot and in the statistics. In
 * between, a page follows events by the same rules; it never tells the time that is left by itself.
 *
 * | reported                      | shown                                                                |
 * |-------------------------------|----------------------------------------------------------------------|
 * | 0 to 100                      | the greater of this and what the phase had; 99.9 at most             |
 * | 100                           | 99.9, and finalising, until another phase or the end                 |
 * | less than the phase had, rubbish | what it was                                                       |
 * | a phase without a percentage  | what it was, until the phase has one                                 |
 * | the end                       | 100 when completed, what it was when failed                          |
 */

import { phaseName } from "./format.js";

const HIGHEST_UNFINISHED = 99.9;
const MAX_PHASES = 64;
/** A time left that was said longer ago says nothing any more. */
const TIME_LEFT_GOOD_MS = 10_000;

/**
 * @typedef {{key: string, name: string, startedS: number, leftS: number | null, percent: number | null}} Phase seconds
 *   since the scan's first event; `key` as it was told, `name` as it is shown
 * @typedef {{of: "scan" | "phase", seconds: number, low: number, high: number}} TimeLeft
 */

export class ScanProgress {
  constructor() {
    /** @type {number | null} percent, as it is shown */
    this.percent = null;
    this.finalising = false;
    /** @type {Phase[]} in order of first appearance */
    this.phases = [];
    this.phasesLeftOut = 0;
    /** @type {Phase | null} */
    this.phase = null;
    this.ended = false;
    this.timeLeft = null;
    /** The scan's seconds at a time, and whether they run on. @type {{elapsedS: number, at: number, runs: boolean} | null} */
    this.clock = null;
  }

  /** Take over what a snapshot says. @param {object} state @param {number} now monotonic milliseconds */
  restore({ status, phase, phases, phases_left_out: leftOut, progress, finalising, elapsed_time: elapsedS, time_left: left }, now) {
    this.phases = phases.map(({ phase: key, started_s: startedS, left_s: leftS = null, percent = null }) => ({
      key, name: phaseName(key), startedS, leftS, percent,
    }));
    this.phasesLeftOut = leftOut;
    this.phase = phase === null ? null : (this.phases.find(({ key }) => key === phase) ?? newPhase(phase, elapsedS));
    this.percent = progress;
    this.finalising = finalising;
    this.ended = status === "completed" || status === "failed";
    this.#say(elapsedS, left, now);
  }

  /**
   * Take in what the statistics say.
   *
   * @param {object} entry as `/api/scans` lists it
   * @param {boolean} current it is of an event as late as the last one that was reported here
   * @param {number} at when it came, monotonic milliseconds
   */
  said({ phase, progress, finalising, elapsed_time: elapsedS, time_left: left, status }, current, at) {
    if (this.ended) {
      // Of a scan that has ended only the time it took may be news.
      if (status === "completed" || status === "failed") this.#say(elapsedS, null, at);
      return;
    }
    this.#say(elapsedS, left, at);
    if (!current || status === "completed" || status === "failed") return;
    if (phase !== null) this.#enter(phase, at);
    this.finalising = finalising;
    if (progress !== null) {
      this.percent = progress;
      if (this.phase !== null) this.phase.percent = Math.max(this.phase.percent ?? 0, progress);
    }
  }

  /** Follow an event. @param {string} key the phase @param {unknown} percent as it was reported */
  report(key, percent, now) {
    const phase = this.#enter(key, now);
    if (!(percent >= 0 && percent <= 100) || percent < (phase.percent ?? 0)) return;
    phase.percent = percent;
    if (this.ended) return;
    this.finalising = percent >= 100;
    this.percent = Math.min(percent, HIGHEST_UNFINISHED);
  }

  /** @param {boolean} completed false: it failed */
  end(completed, now) {
    if (this.ended) return;
    const elapsedS = this.elapsed(now);
    this.ended = true;
    this.finalising = false;
    this.timeLeft = null;
    if (completed) this.percent = 100;
    if (this.phase !== null) this.phase.leftS = elapsedS;
    if (elapsedS !== null) this.clock = { elapsedS, at: now, runs: false };
  }

  /** Return the seconds it runs or ran; null while nobody said. */
  elapsed(now) {
    if (this.clock === null) return null;
    return this.clock.elapsedS + (this.clock.runs ? (now - this.clock.at) / 1000 : 0);
  }

  /** Return the time that is left as of now; null where there is no telling. @returns {TimeLeft | null} */
  left(now) {
    if (this.timeLeft === null || this.finalising || now - this.timeLeft.at > TIME_LEFT_GOOD_MS) return null;
    const passed = (now - this.timeLeft.at) / 1000;
    const [seconds, low, high] = ["seconds", "low", "high"].map((name) => Math.max(0, this.timeLeft[name] - passed));
    return high > 0 ? { of: this.timeLeft.of, seconds, low, high } : null;
  }

  #say(elapsedS, left, at) {
    this.clock = { elapsedS, at, runs: !this.ended };
    this.timeLeft = left === null ? null : { ...left, at };
  }

  #enter(key, now) {
    if (this.phase?.key === key) return this.phase;
    const elapsedS = this.elapsed(now) ?? 0;
    if (this.phase !== null) this.phase.leftS = elapsedS;
    let phase = this.phases.find((one) => one.key === key);
    if (phase === undefined) {
      phase = newPhase(key, elapsedS);
      if (this.phases.length < MAX_PHASES) this.phases.push(phase);
      else this.phasesLeftOut += 1;
    } else if (!this.ended && phase.percent !== null) {
      this.percent = Math.min(phase.percent, HIGHEST_UNFINISHED);
    }
    phase.leftS = this.ended ? elapsedS : null;
    if (!this.ended) this.finalising = false;
    this.phase = phase;
    return phase;
  }
}

function newPhase(key, startedS) {
  return { key, name: phaseName(key), startedS, leftS: null, percent: null };
}
