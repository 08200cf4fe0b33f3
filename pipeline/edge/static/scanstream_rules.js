/**
 * What a reader of one scan decides: what it has seen, when it tries again, and whether anybody is still there.
 * Pure: no socket, no timer, no clock. `pipeline/subscription.py` holds the same rules in Python; one file of
 * test vectors holds both to them.
 */

/** Close codes after which the server does not want the client back. */
export const FINAL_CLOSE_CODES = new Set([1002, 1003, 1007, 1009, 4400, 4401, 4403, 4404, 4406]);

const CLOSE_REASONS = new Map([
  [1000, "the server closed the connection"],
  [1001, "the server is shutting down"],
  [1002, "the server could not read what was sent"],
  [1003, "the server takes text only"],
  [1006, "the connection was lost"],
  [1007, "the server could not read what was sent"],
  [1009, "what was sent is too large"],
  [4000, "the server is draining"],
  [4008, "this reader was too slow"],
  [4009, "no sign of life from this reader"],
  [4029, "too many connections, or messages"],
  [4400, "bad request"],
  [4401, "the token is bad or expired"],
  [4403, "this origin or role is not allowed"],
  [4404, "this scan is unknown, or not yours"],
  [4406, "the server does not speak this protocol"],
]);

/** Return what a close code means, in words. */
export function closeReason(code) {
  return CLOSE_REASONS.get(code) ?? `closed with code ${code}`;
}

const FIRST_RETRY_WITHIN_MS = 200;
const BACKOFF_LEAST_MS = 500;
const BACKOFF_MOST_MS = 20_000;
const ASKED_WAIT_MOST_MS = 3_600_000;

/**
 * How long to wait before a retry: at random within 200 ms for the first (so that a restarted edge is not hit by everyone
 * in the same instant), then at random between 0.5 s and a bound that doubles up to 20 s.
 *
 * @param {number} attempt failures in a row so far, 0 for the first
 * @param {number} random 0 <= random < 1
 * @param {number} [leastMs] what the server asked for (`retry_ms`), waited for before; at most an hour, rubbish is 0
 * @returns {number} milliseconds
 */
export function retryDelay(attempt, random, leastMs = 0) {
  const asked = Number.isFinite(leastMs) ? Math.min(Math.max(leastMs, 0), ASKED_WAIT_MOST_MS) : 0;
  if (attempt === 0) return asked + random * FIRST_RETRY_WITHIN_MS;
  const ceiling = Math.min(BACKOFF_MOST_MS, BACKOFF_LEAST_MS * 2 ** attempt);
  return asked + BACKOFF_LEAST_MS + random * (ceiling - BACKOFF_LEAST_MS);
}

/**
 * What of a scan was seen, and whether a message follows it.
 *
 * | message                          | verdict                                                                       |
 * |----------------------------------|-------------------------------------------------------------------------------|
 * | hello, position held             | use: it goes on after it                                                      |
 * | hello, position not held         | reset: what was seen is forgotten, the next batch is taken wherever it begins |
 * | batch, first one                 | use, wherever it begins; what lies before it is no longer held                |
 * | batch after the last             | use: `first` is the one after the last seen                                   |
 * | batch already seen               | drop                                                                          |
 * | batch further on                 | gap: come back with the last position                                         |
 * | batch that overlaps what was seen, or whose counts do not add up | damaged: the same                             |
 * | batch of a later epoch           | reset, then as after a `reset`; of an earlier one: drop                       |
 * | reset                            | use: the next batch begins with 1                                             |
 * | lag from..to, at what is due     | use: batches within the range are taken in order; then it goes on at `to + 1` |
 * | lag further on                   | gap; one that lies behind: drop                                               |
 * | snapshot at n                    | use: it stands for everything up to n; an older one: drop                     |
 *
 * A lag ends with its connection: the next one is told, or given, what is missing from the last event taken on.
 */
export class ReadPosition {
  /** @param {string | null} since the position to begin with, `epoch:seq` */
  constructor(since = null) {
    this.#forget(null, null);
    if (since === null) return;
    const [, epoch, seq] = /^(\d{1,16}):(\d{1,16})$/.exec(since) ?? [];
    if (epoch === undefined) throw new TypeError(`${since} is no position: epoch:seq, two whole numbers`);
    this.#forget(Number(epoch), Number(seq));
  }

  /** The value of `since` to resume with, or null when nothing was seen. */
  get since() {
    return this.epoch === null || this.seq === null ? null : `${this.epoch}:${this.seq}`;
  }

  /** The number of the event that is due, or null when any is. */
  get due() {
    if (this.lagTo !== null) return this.lagTo + 1;
    return this.seq === null ? null : this.seq + 1;
  }

  /**
   * Judge a message, and move on if it is to be used.
   *
   * @param {object} message as the edge sent it; one without a position is always used
   * @returns {"use" | "drop" | "gap" | "damaged" | "reset"} "reset": forget what was shown, then use it
   */
  take(message) {
    switch (message.type) {
      case "hello":
        return this.#hello(message);
      case "batch":
        return this.#batch(message);
      case "lag":
        return this.#lag(message);
      case "reset":
        if (this.epoch !== null && message.epoch < this.epoch) return "drop";
        this.#forget(message.epoch, 0);
        return "use";
      case "snapshot":
        return this.#snapshot(message);
      default:
        return "use";
    }
  }

  #hello({ epoch, resumed }) {
    this.lagTo = null;
    if (resumed === true) return "use";
    const lost = this.seq !== null;
    this.#forget(epoch, null);
    return lost ? "reset" : "use";
  }

  #batch({ epoch, seq: [first, last], merged = 0, filtered = 0, at = [], events }) {
    if (!addsUp(first, last, events.length + merged + filtered)) return "damaged";
    if (merged + filtered > 0 && at.length !== events.length) return "damaged";
    if (this.epoch !== null && epoch < this.epoch) return "drop";
    const fresh = this.epoch !== null && epoch > this.epoch;
    if (fresh) this.#forget(epoch, 0);
    if (this.seq !== null && last <= this.seq) return "drop";
    const within = this.lagTo !== null && first <= this.lagTo;
    if (this.seq !== null && first <= this.seq) return "damaged";
    if (!within && this.due !== null && first !== this.due) return "gap";
    this.epoch = epoch;
    this.seq = last;
    if (this.lagTo !== null && last >= this.lagTo) this.lagTo = null;
    return fresh ? "reset" : "use";
  }

  #lag({ from, to }) {
    if (!addsUp(from, to, to - from + 1)) return "damaged";
    if (this.seq !== null && to <= this.seq) return "drop";
    if (this.due !== null && from > this.due) return "gap";
    this.seq = Math.max(this.seq ?? 0, from - 1);
    this.lagTo = to;
    return "use";
  }

  #snapshot({ epoch, seq }) {
    if (this.epoch !== null && (epoch < this.epoch || (epoch === this.epoch && seq < (this.seq ?? 0)))) return "drop";
    this.#forget(epoch, seq);
    return "use";
  }

  #forget(epoch, seq) {
    this.epoch = epoch;
    this.seq = seq;
    this.lagTo = null;
  }
}

function addsUp(first, last, count) {
  return Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 1 && last >= first && count === last - first + 1;
}

const OPEN_WITHIN_MS = 20_000;
const HIDDEN_PATIENCE_MS = 70_000;
const QUIET_AT_MOST_MS = 75_000;
const QUIET_PINGS = 2;

/**
 * Whether the other side is still there. Told the time in monotonic milliseconds.
 *
 * A page cannot see the server's pings, nor the comments of server-sent events, only messages. So it asks, where it can.
 *
 * | what                                             | verdict                                                         |
 * |--------------------------------------------------|-----------------------------------------------------------------|
 * | not open 20 s after it was tried                 | lost                                                            |
 * | no message for two ping intervals, and it can ask | ask: send `{"action":"ping"}`                                  |
 * | asked, no message for `client_timeout`           | lost                                                            |
 * | it cannot ask, no message for 75 s               | lost: coming back with the position is the only way to find out |
 *
 * While the page is hidden it waits 70 s at least in place of what is less: browsers let timers of such a page run once a minute.
 * It is always asked before it counts as lost, so a machine that slept does not lose a good connection.
 */
export class LifeWatch {
  /** Take notice that a connection is being opened. */
  constructor(now) {
    this.open = false;
    this.canAsk = false;
    this.heardAt = now;
    this.askedAt = null;
  }

  /** Take notice that it is open. */
  opened(now) {
    this.open = true;
    this.heardAt = now;
  }

  /**
   * Take notice of what `hello` says.
   *
   * @param {boolean} canAsk the server answers pings
   * @param {number} pingIntervalMs
   * @param {number} clientTimeoutMs
   */
  hello(canAsk, pingIntervalMs, clientTimeoutMs) {
    this.canAsk = canAsk;
    this.quietMs = QUIET_PINGS * pingIntervalMs;
    this.patienceMs = clientTimeoutMs;
  }

  /** Take notice of a message. */
  heard(now) {
    this.heardAt = now;
    this.askedAt = null;
  }

  /** Return when to call `check`, at the latest. */
  deadline(hidden) {
    if (!this.open) return this.heardAt + patience(OPEN_WITHIN_MS, hidden);
    if (!this.canAsk) return this.heardAt + QUIET_AT_MOST_MS;
    if (this.askedAt === null) return this.heardAt + this.quietMs;
    return this.askedAt + patience(this.patienceMs, hidden);
  }

  /** @returns {"fine" | "ask" | "lost"} */
  check(now, hidden) {
    if (now < this.deadline(hidden)) return "fine";
    if (!this.canAsk || this.askedAt !== null) return "lost";
    this.askedAt = now;
    return "ask";
  }
}

function patience(ms, hidden) {
  return hidden ? Math.max(ms, HIDDEN_PATIENCE_MS) : ms;
}

const SOCKET_TRIES = 2;

/**
 * Which transport is tried next.
 *
 * | what                                                   | next                      |
 * |--------------------------------------------------------|---------------------------|
 * | a WebSocket was ever open                              | WebSockets for good       |
 * | none ever was, and two in a row could not be opened    | server-sent events        |
 * | those cannot be opened either                          | two WebSockets, and so on |
 *
 * Where there is only one of the two, that one.
 */
export class TransportChoice {
  /** @param {boolean} sockets there are WebSockets @param {boolean} streams there are server-sent events */
  constructor(sockets, streams) {
    /** @type {"websocket" | "sse"} */
    this.kind = sockets ? "websocket" : "sse";
    this.settled = !(sockets && streams);
    this.failures = 0;
  }

  /** Take notice that a connection was opened. */
  opened() {
    this.failures = 0;
    if (this.kind === "websocket") this.settled = true;
  }

  /** Take notice that one could not be opened. */
  failed() {
    this.failures += 1;
    if (this.settled || this.failures < (this.kind === "websocket" ? SOCKET_TRIES : 1)) return;
    this.kind = this.kind === "websocket" ? "sse" : "websocket";
    this.failures = 0;
  }
}
