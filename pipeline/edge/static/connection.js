/**
 * One scan over a WebSocket that comes back by itself and says where it was.
 *
 * Sits between the edge and the message queue. Checks that frames follow each other (`resume.js`) and
 * hands on every message of use, in order; it knows nothing of what events mean, and no DOM.
 *
 * | state        | means                                                        |
 * |--------------|--------------------------------------------------------------|
 * | connecting   | asked for, no hello yet                                      |
 * | waiting      | connected, the scan does not exist yet                       |
 * | live         | connected to the scan                                        |
 * | reconnecting | closed; tried again at `retryAt` (monotonic milliseconds)    |
 * | ended        | the server does not want us back; `reason` says why          |
 */

import { FINAL_CLOSE_CODES, ReadPosition, retryDelay } from "./resume.js";

const SUBPROTOCOL = "scanstream.v1.json";
const HEALTHY_AFTER_MS = 5_000;

const CLOSE_REASONS = new Map([
  [1000, "the server closed the connection"],
  [1001, "the server is shutting down"],
  [1006, "the connection was lost"],
  [4000, "the server is draining"],
  [4008, "this reader was too slow"],
  [4009, "no sign of life from this reader"],
  [4029, "too many connections"],
  [4400, "bad request"],
  [4401, "the token is bad or expired"],
  [4403, "this origin or role is not allowed"],
  [4404, "this scan is unknown, or not yours"],
  [4406, "the server does not speak this protocol"],
]);

export class ScanConnection {
  /**
   * @param {object} options
   * @param {string} options.url where, without a query
   * @param {(message: object) => void} options.onMessage every message of use, in order; `{type: "clear", reason}` is ours:
   *   forget everything before what follows; `{type: "gap", ...}` is ours too: frames were missing and are asked for again
   * @param {(state: {name: string, reason: string, retryAt: number | null}) => void} options.onState
   */
  constructor({ url, onMessage, onState }) {
    this.url = url;
    this.onMessage = onMessage;
    this.onState = onState;
    this.position = new ReadPosition();
    this.socket = null;
    this.closing = null;
    this.attempt = 0;
    this.retryTimer = null;
    this.healthyTimer = null;
  }

  /** Connect. Call once; it comes back by itself until `close`. */
  open() {
    this.retryTimer = null;
    this.closing = null;
    this.#state("connecting");
    const since = this.position.since;
    const url = since === null ? this.url : `${this.url}?since=${encodeURIComponent(since)}`;
    const socket = new WebSocket(url, SUBPROTOCOL);
    this.socket = socket;
    socket.onmessage = ({ data }) => socket === this.socket && this.#received(data);
    socket.onclose = ({ code }) => socket === this.socket && this.#closed(code);
  }

  /** Close for good; no callback comes after it. */
  close() {
    const socket = this.#detach();
    clearTimeout(this.retryTimer);
    leave(socket);
  }

  /** Try again now rather than when the wait is over; does nothing in another state. */
  retryNow() {
    if (this.retryTimer === null) return;
    clearTimeout(this.retryTimer);
    this.open();
  }

  #received(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      this.#again("the server sent something unreadable");
      return;
    }
    switch (message.type) {
      case "hello":
        this.#hello(message);
        break;
      case "batch":
        this.#batch(message);
        break;
      case "lag":
        this.position.lag(message);
        this.onMessage(message);
        break;
      case "reset":
        this.position.forget(message.epoch ?? null);
        this.onMessage(message);
        break;
      case "closing":
        this.closing = message;
        break;
      case "degraded":
      case "error":
        this.onMessage(message);
        break;
    }
  }

  #hello(message) {
    if (message.resumed === false) {
      this.position.forget(message.epoch);
      this.onMessage({ type: "clear", reason: "what was missed is no longer held: built anew" });
    }
    this.onMessage(message);
    this.healthyTimer = setTimeout(() => (this.attempt = 0), HEALTHY_AFTER_MS);
    this.#state(message.epoch === null ? "waiting" : "live");
  }

  #batch(message) {
    const expected = (this.position.seq ?? 0) + 1;
    const verdict = this.position.batch(message);
    if (verdict === "duplicate") return;
    if (verdict === "gap") {
      this.onMessage({ type: "gap", expected, first: message.seq[0] });
      this.#again(`frames were missing before ${message.seq[0]}`);
      return;
    }
    if (verdict === "new-epoch") this.onMessage({ type: "clear", reason: "the scan was started again" });
    this.onMessage(message);
    if (this.name === "waiting") this.#state("live");
  }

  /** Leave this connection and come back with the position held. */
  #again(reason) {
    const socket = this.#detach();
    leave(socket);
    this.#retry(reason);
  }

  #closed(code) {
    this.#detach();
    const reason = this.closing?.reason || CLOSE_REASONS.get(code) || `closed with code ${code}`;
    if (this.closing?.reconnect === false || FINAL_CLOSE_CODES.has(code)) this.#state("ended", reason);
    else this.#retry(reason, this.closing?.retry_ms);
  }

  #retry(reason, leastMs = 0) {
    const delay = Math.max(Number.isFinite(leastMs) ? leastMs : 0, 0) + retryDelay(this.attempt, Math.random());
    this.attempt += 1;
    this.retryTimer = setTimeout(() => this.open(), delay);
    this.#state("reconnecting", reason, performance.now() + delay);
  }

  #detach() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.healthyTimer);
    return socket;
  }

  #state(name, reason = "", retryAt = null) {
    this.name = name;
    this.onState({ name, reason, retryAt });
  }
}

/** Close a socket; one that is still opening once it is open, for a browser reports the other as an error. */
function leave(socket) {
  if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(1000);
  else socket?.close(1000);
}
