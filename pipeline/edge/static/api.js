/** Asking the edge over HTTP, and asking again. */

import { plural } from "./format.js";
import { request } from "./session.js";

/**
 * Return the scans the edge knows of.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<{scans: object[], complete: boolean}>} `complete` false: some worker did not answer
 * @throws {Error} with a message for a reader when the edge refuses or does not answer
 */
export async function fetchScans(signal) {
  const response = await ask("api/scans", signal);
  if (!response.ok) throw new Error(refusal(response.status));
  return response.json();
}

/**
 * Return whether the pipeline is ready, and why not.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<{ready: boolean, text: string}>}
 */
export async function fetchHealth(signal) {
  const response = await ask("readyz", signal);
  const body = await response.json().catch(() => ({}));
  const ready = response.ok && body.status === "ready";
  return { ready, text: ready ? "ready" : inWords(body, response.status) };
}

/** Why it is not ready, in words for a reader. */
function inWords({ reason, status, silent_shards: silent }, httpStatus) {
  if (Array.isArray(silent)) return `${plural(silent.length, "shard")} silent (${silent.join(", ")})`;
  return String(reason ?? status ?? `HTTP ${httpStatus}`);
}

/**
 * Return a page of a scan's hosts.
 *
 * @param {string} scanId
 * @param {number} after how many to leave out at the beginning
 * @param {AbortSignal} signal
 * @returns {Promise<{epoch: number, seq: number, total: number, left_out: number, next: number | null, hosts: object[]}>}
 * @throws {Error} with a message for a reader when the edge refuses or does not answer
 */
export async function fetchHosts(scanId, after, signal) {
  const response = await ask(`api/scans/${encodeURIComponent(scanId)}/hosts?after=${after}`, signal);
  if (!response.ok) throw new Error(refusal(response.status));
  return response.json();
}

/**
 * Return every stage of the pipeline, how it is, and how much passes.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<{at: string, stages: object[]}>}
 * @throws {Error} with a message for a reader when the edge refuses or does not answer
 */
export async function fetchPipeline(signal) {
  return answer(await ask("api/pipeline", signal));
}

/**
 * Return the connections of all edges, the oldest first.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<{connections: object[], total: number, edges: number, complete: boolean}>}
 * @throws {Error} with a message for a reader when the edge refuses or does not answer
 */
export async function fetchConnections(signal) {
  return answer(await ask("api/connections", signal));
}

async function answer(response) {
  if (response.status === 403) throw new Forbidden(await reason(response));
  if (!response.ok) throw new Error(refusal(response.status));
  return response.json();
}

/** Whoever asks may not see it, and asking again will not help. */
export class Forbidden extends Error {}

async function reason(response) {
  const { error } = await response.json().catch(() => ({}));
  return error === "the role admin is needed" ? "This page needs a token with the role admin." : refusal(response.status);
}

/** Return the address of the stream that tells of all scans, beside this page. @param {"websocket" | "sse"} kind */
export function statsUrl(kind) {
  const url = new URL(kind === "sse" ? "sse/stats" : "ws/stats", document.baseURI);
  if (kind !== "sse") url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

async function ask(path, signal) {
  try {
    return await request(path, { signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("The edge does not answer.", { cause: error });
  }
}

function refusal(status) {
  if (status === 401) return "The edge asks for a token.";
  if (status === 403) return "The edge does not let this page see the scans.";
  return `The edge answered with HTTP ${status}.`;
}

/** Repeats a request while the page is visible, never two at a time. */
export class Poll {
  /**
   * @param {(signal: AbortSignal) => Promise<void>} step handles its own errors; what it throws after an abort is ignored
   * @param {number} pauseMs between the end of one step and the start of the next
   */
  constructor(step, pauseMs) {
    this.step = step;
    this.pauseMs = pauseMs;
    this.timer = null;
    this.asking = null;
    this.onVisibility = () => (document.hidden ? this.#rest() : this.#go());
    document.addEventListener("visibilitychange", this.onVisibility);
    if (!document.hidden) this.#go();
  }

  /** Stop for good; a request under way is aborted. */
  close() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.#rest();
  }

  #rest() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
  }

  async #go() {
    clearTimeout(this.timer);
    if (this.asking !== null) return;
    const asking = new AbortController();
    this.asking = asking;
    try {
      await this.step(asking.signal);
    } catch (error) {
      if (!asking.signal.aborted) throw error;
    }
    if (this.asking !== asking) return;
    this.asking = null;
    this.timer = setTimeout(() => this.#go(), this.pauseMs);
  }
}
