/**
 * How far this page is behind what is published, and how many messages a second the edge gives it (docs/PROTOCOL.md,
 * "Reading slowly"). Asks the edge only when there is reason to: a page that keeps up costs nothing.
 */

import { fetchConnections } from "./api.js";

const FULL = 10;
const ASK_EVERY_MS = 3_000;
/** Asked on for so long after a page was behind last. */
const ASK_FOR_MS = 15_000;

export class OwnPace {
  /** @param {() => void} onChange `perS` is another one */
  constructor(onChange) {
    this.onChange = onChange;
    this.connectionId = null;
    /** Frames a second this page is given at most. */
    this.perS = FULL;
    /** Events that were published a second ago or more and are not here. */
    this.behind = 0;
    /** What the statistics said last: [when, the last published event]. */
    this.heads = [];
    this.behindAt = -Infinity;
    this.askedAt = -Infinity;
    this.asking = null;
  }

  /** A connection begins: at the full pace. @param {string | null} connectionId null: there is none */
  greeted(connectionId) {
    this.connectionId = connectionId;
    this.heads = [];
    this.behind = 0;
    this.behindAt = -Infinity;
    this.#set(FULL);
  }

  /** @param {number} seq the last published event, as the statistics say @param {number} at when they did */
  head(seq, at) {
    this.heads.push([at, seq]);
  }

  /** See how it is. @param {number} seq the last event that is here @param {number} now monotonic milliseconds */
  check(seq, now) {
    const old = this.heads.filter(([at]) => at <= now - 1_000);
    if (old.length > 0) {
      this.behind = Math.max(0, old.at(-1)[1] - seq);
      this.heads = this.heads.slice(old.length - 1);
    }
    if (this.behind > 0) this.behindAt = now;
    const reason = this.perS < FULL || now - this.behindAt < ASK_FOR_MS;
    if (reason && this.connectionId !== null && this.asking === null && now - this.askedAt >= ASK_EVERY_MS) this.#ask(now);
  }

  /** A lag was told: the pace has fallen. */
  lagged(now) {
    this.behindAt = now;
  }

  close() {
    this.asking?.abort();
  }

  async #ask(now) {
    const asking = new AbortController();
    this.asking = asking;
    this.askedAt = now;
    const id = this.connectionId;
    try {
      const { connections } = await fetchConnections(asking.signal);
      const own = connections.find((connection) => connection.connection_id === id);
      if (own !== undefined && id === this.connectionId) this.#set(own.pace);
    } catch {
      // It is asked again, and the figure stays as it is.
    }
    this.asking = null;
  }

  #set(perS) {
    if (perS === this.perS) return;
    this.perS = perS;
    this.onChange();
  }
}

/** What a pace means, in words. */
export function paceText(perS) {
  return perS >= FULL ? "full" : `${perS} of ${FULL} a second`;
}
