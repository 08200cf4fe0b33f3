/**
 * The JavaScript client: one scan, live, in browsers and in Node. It comes back by itself and says where it was.
 *
 * Sits between the edge and whoever shows a scan; this dashboard uses it too. Checks that nothing is missing
 * (`scanstream_rules.js`) and hands out every message of use, in order, a picture's worth at a time
 * (`scanstream_queue.js`). It knows nothing of what events mean, and no DOM but whether the page is hidden.
 * No dependency, no build step: these files and `scanstream_transports.js` are all of it. Types: `scanstream.d.ts`.
 *
 * | state        | means                                                        |
 * |--------------|--------------------------------------------------------------|
 * | connecting   | asked for, no hello yet                                      |
 * | waiting      | connected, the scan does not exist yet                       |
 * | live         | connected to the scan                                        |
 * | reconnecting | closed; tried again at `retryAt` (monotonic milliseconds)    |
 * | ended        | the server does not want us back; `reason` says why          |
 */

import { MessageQueue } from "./scanstream_queue.js";
import { closeReason, FINAL_CLOSE_CODES, LifeWatch, ReadPosition, retryDelay, TransportChoice } from "./scanstream_rules.js";
import { isTokenText, refreshDelay, TokenTries, tokenExpiry } from "./scanstream_token_rules.js";
import { TRANSPORTS } from "./scanstream_transports.js";

const PING = '{"action":"ping"}';
const HEALTHY_AFTER_MS = 5_000;
const ACK_INTERVAL_MS = 500;
const UNAUTHORISED = 4401;

export class ScanStream {
  #options;
  #transports;
  #choice;
  #position;
  #queue;
  #connection = null;
  #watch = null;
  #wasOpen = false;
  #closing = null;
  #attempt = 0;
  #name = "connecting";
  #timers = { retry: null, healthy: null, watch: null, ack: null, refresh: null };
  #tries;
  #handedOut;
  #acked = null;
  #ackedAt = -Infinity;

  /** @param {import("./scanstream.d.ts").ScanStreamOptions} options what each means stands in `scanstream.d.ts` */
  constructor({
    scanId,
    url = globalThis.document?.baseURI,
    since = null,
    begin = "start",
    filter = {},
    ack = false,
    token = null,
    onMessages,
    onState = () => {},
    WebSocket = globalThis.WebSocket,
    EventSource = globalThis.EventSource,
  }) {
    if (!WebSocket && !EventSource) throw new TypeError("there is neither WebSocket nor EventSource here: give one in the options");
    if (typeof token === "string" && !isTokenText(token)) throw new TypeError("the token given is none");
    this.#options = { scanId, url: new URL(url), begin, filter, ack, token, onMessages, onState };
    this.#tries = new TokenTries(typeof token === "function");
    this.#transports = { websocket: WebSocket, sse: EventSource };
    this.#choice = new TransportChoice(Boolean(WebSocket), Boolean(EventSource));
    this.#position = new ReadPosition(since);
    this.#handedOut = since;
    this.#queue = new MessageQueue((waiting) => this.#handOut(waiting));
  }

  /** The position after what was handed out, `epoch:seq`, to go on from another time; null before the first event. */
  get position() {
    return this.#handedOut;
  }

  /** Connect. Call once; it comes back by itself until `close`. */
  open() {
    globalThis.document?.addEventListener("visibilitychange", this.#comeBack);
    globalThis.window?.addEventListener("online", this.#comeBack);
    this.#connect();
  }

  /** Close for good; nothing is handed out after it. */
  close() {
    globalThis.document?.removeEventListener("visibilitychange", this.#comeBack);
    globalThis.window?.removeEventListener("online", this.#comeBack);
    this.#detach()?.leave();
    this.#cancel("retry");
    this.#queue.close();
  }

  /** Try again now rather than when the wait is over; does nothing in another state. */
  retryNow() {
    if (this.#timers.retry === null) return;
    this.#cancel("retry");
    this.#connect();
  }

  #comeBack = () => {
    if (hidden()) return;
    this.retryNow();
    this.#check();
  };

  #connect() {
    this.#timers.retry = null;
    this.#closing = null;
    this.#wasOpen = false;
    this.#watch = new LifeWatch(performance.now());
    this.#state("connecting");
    const asking = { canSend: false, leave() {} };
    this.#connection = asking;
    this.#check();
    if (this.#options.token === null) this.#dial(null);
    else this.#withToken(asking, (token) => this.#dial(token), () => this.#again("there is no token"));
  }

  #dial(token) {
    const { kind } = this.#choice;
    const here = (handle) => (...args) => connection === this.#connection && handle(...args);
    let connection;
    try {
      connection = new TRANSPORTS[kind](this.#transports[kind], this.#address(kind), token, {
        open: here(() => this.#opened()),
        message: here((data) => this.#received(data)),
        closed: here((code) => this.#closed(code)),
      });
    } catch {
      this.#closed(1006); // such as a page that may not open this kind of connection at all
      return;
    }
    this.#connection = connection;
    if (token !== null) this.#refreshLater(tokenExpiry(token));
  }

  #address(kind) {
    const { scanId, url: base, begin, filter } = this.#options;
    const url = new URL(`${kind === "sse" ? "sse" : "ws"}/scans/${encodeURIComponent(scanId)}`, base);
    const secure = base.protocol === "https:" || base.protocol === "wss:";
    url.protocol = `${kind === "sse" ? "http" : "ws"}${secure ? "s" : ""}:`;
    for (const [name, value] of Object.entries(filter)) if (value != null) url.searchParams.set(name, String(value));
    const since = this.#position.since ?? (begin === "snapshot" ? null : "start");
    if (since !== null) url.searchParams.set("since", since);
    return url.href;
  }

  // --- hearing ---------------------------------------------------------------------------------

  #opened() {
    this.#wasOpen = true;
    this.#choice.opened();
    this.#watch.opened(performance.now());
    this.#check();
  }

  #received(data) {
    let expected, message, verdict;
    this.#watch.heard(performance.now());
    try {
      message = JSON.parse(data);
      expected = this.#position.due;
      verdict = this.#position.take(message);
    } catch {
      verdict = "damaged";
    }
    if (verdict === "drop") return;
    if (verdict === "damaged") {
      this.#again("the server sent something unreadable");
      return;
    }
    if (verdict === "gap") {
      const first = message.type === "lag" ? message.from : message.seq[0];
      this.#put({ type: "gap", expected, first });
      this.#again(`events were missing before ${first}`);
      return;
    }
    if (verdict === "reset") {
      const reason = message.type === "hello" ? "not_held" : "restarted";
      this.#put({ type: "reset", scan_id: this.#options.scanId, epoch: message.epoch, reason });
    }
    if (message.type === "closing") {
      this.#closing = message;
    } else if (message.type !== "pong") {
      this.#put(message);
      // The first one is what everybody waits for, and not for a picture: there is none yet.
      if (message.type === "snapshot" && this.#handedOut === null) this.#queue.flush();
      if (message.type === "hello") this.#hello(message);
      else if (message.type === "batch" && this.#name === "waiting") this.#state("live");
    }
  }

  #hello({ epoch, features, ping_interval: pingIntervalS, client_timeout: clientTimeoutS }) {
    const canAsk = this.#connection.canSend && (features ?? []).includes("ping");
    this.#tries.accepted();
    this.#watch.hello(canAsk, pingIntervalS * 1000, clientTimeoutS * 1000);
    this.#timers.healthy = setTimeout(() => (this.#attempt = 0), HEALTHY_AFTER_MS);
    this.#check();
    this.#state(epoch === null ? "waiting" : "live");
  }

  /** See whether the other side is still there, now and when it is due again. */
  #check() {
    this.#cancel("watch");
    if (this.#connection === null) return;
    const verdict = this.#watch.check(performance.now(), hidden());
    if (verdict === "lost") {
      this.#lost(this.#wasOpen ? "no sign of life from the server" : "the server did not answer");
      return;
    }
    if (verdict === "ask") this.#connection.send(PING);
    const wait = this.#watch.deadline(hidden()) - performance.now();
    this.#timers.watch = setTimeout(() => this.#check(), Math.max(wait, 0) + 1);
  }

  // --- who it is -------------------------------------------------------------------------------

  /** Ask for a token; what it is for may be over when it comes. */
  #withToken(connection, use, failed) {
    const { token } = this.#options;
    new Promise((resolve) => resolve(typeof token === "function" ? token() : token))
      .then((text) => (isTokenText(text) ? text : Promise.reject(new TypeError("no token"))))
      .then(
        (text) => connection === this.#connection && use(text),
        () => connection === this.#connection && failed(),
      );
  }

  /** Before a token expires ask for the next one, where there is somebody to ask, and tell the edge. */
  #refreshLater(expiry) {
    this.#cancel("refresh");
    const connection = this.#connection;
    const wait = expiry === null ? null : refreshDelay(expiry - Date.now());
    if (wait === null || !connection.canSend || typeof this.#options.token !== "function") return;
    const refresh = (token) => {
      if (this.#wasOpen) connection.send(JSON.stringify({ action: "refresh", token }));
      this.#refreshLater(tokenExpiry(token));
    };
    this.#timers.refresh = setTimeout(() => this.#withToken(connection, refresh, () => this.#refreshLater(expiry)), wait);
  }

  // --- handing out -----------------------------------------------------------------------------

  #put(message) {
    this.#queue.put({ message, since: this.#position.since, events: message.events });
  }

  #handOut(waiting) {
    this.#handedOut = waiting.at(-1).since;
    this.#options.onMessages(waiting.map(({ message }) => message));
    if (this.#options.ack) this.#ack();
  }

  /** Tell the edge how far this reader is: at most twice a second, and the last position for certain. */
  #ack() {
    const seq = Number(this.#handedOut?.split(":")[1] ?? 0);
    const { ack } = this.#timers;
    if (ack !== null || seq === 0 || this.#handedOut === this.#acked) return;
    if (!this.#wasOpen || !this.#connection?.canSend) return;
    const wait = this.#ackedAt + ACK_INTERVAL_MS - performance.now();
    if (wait > 0) {
      this.#timers.ack = setTimeout(() => {
        this.#timers.ack = null;
        this.#ack();
      }, wait);
      return;
    }
    this.#acked = this.#handedOut;
    this.#ackedAt = performance.now();
    this.#connection.send(JSON.stringify({ action: "ack", seq }));
  }

  // --- leaving and coming back -----------------------------------------------------------------

  /** Leave this connection and come back with the position held. */
  #again(reason) {
    this.#detach()?.leave();
    this.#retry(reason);
  }

  #lost(reason) {
    if (!this.#wasOpen) this.#choice.failed();
    this.#again(reason);
  }

  #closed(code) {
    this.#detach();
    if (!this.#wasOpen) this.#choice.failed();
    const reason = this.#closing?.reason || closeReason(code);
    // Server-sent events have no code but the one they were told.
    const unauthorised = code === UNAUTHORISED || this.#closing?.code === UNAUTHORISED;
    if (unauthorised && this.#tries.refused() === "again") this.#retry(reason);
    else if (this.#closing?.reconnect === false || FINAL_CLOSE_CODES.has(code)) this.#state("ended", reason, null, unauthorised ? UNAUTHORISED : code);
    else this.#retry(reason, this.#closing?.retry_ms);
  }

  #retry(reason, askedMs) {
    const delay = retryDelay(this.#attempt, Math.random(), askedMs);
    this.#attempt += 1;
    this.#timers.retry = setTimeout(() => this.#connect(), delay);
    this.#state("reconnecting", reason, performance.now() + delay);
  }

  #detach() {
    const connection = this.#connection;
    this.#connection = null;
    for (const name of ["healthy", "watch", "ack", "refresh"]) this.#cancel(name);
    return connection;
  }

  #cancel(name) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = null;
  }

  #state(name, reason = "", retryAt = null, code = null) {
    this.#name = name;
    this.#options.onState({ name, reason, retryAt, code, transport: this.#choice.kind });
  }
}

function hidden() {
  return globalThis.document?.hidden === true;
}
