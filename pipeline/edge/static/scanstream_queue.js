/**
 * Messages wait here for the next picture, so that a burst costs one drawing.
 *
 * A hidden tab gets no animation frames and slow timers: there a timer applies what waits, and past
 * `MAX_WAITING_EVENTS` it is applied at once. Where there is no page (Node), what came in one turn of the
 * loop is applied at the end of it. Nothing is dropped here.
 * What a reader sees nothing without, such as a snapshot, need not wait: `flush`.
 */

const MAX_WAITING_EVENTS = 5_000;
const HIDDEN_INTERVAL_MS = 500;

const page = globalThis.document;

export class MessageQueue {
  /** @param {(messages: object[]) => void} apply given everything that waited, in order; never an empty list */
  constructor(apply) {
    this.apply = apply;
    this.waiting = [];
    this.events = 0;
    this.cancel = null;
    this.onVisibility = () => this.#reschedule();
    page?.addEventListener("visibilitychange", this.onVisibility);
  }

  /** Put a message at the end. */
  put(message) {
    this.waiting.push(message);
    // Each message counts for one, so that messages without events are bounded too.
    this.events += 1 + (message.events?.length ?? 0);
    if (this.events > MAX_WAITING_EVENTS) this.flush();
    else if (this.cancel === null) this.#schedule();
  }

  /** Apply what waits now. */
  flush() {
    this.cancel?.();
    this.cancel = null;
    const messages = this.waiting;
    this.waiting = [];
    this.events = 0;
    if (messages.length > 0) this.apply(messages);
  }

  /** Drop what waits and stop. */
  close() {
    page?.removeEventListener("visibilitychange", this.onVisibility);
    this.cancel?.();
    this.waiting = [];
  }

  #schedule() {
    if (page === undefined) {
      const turn = setTimeout(() => this.flush(), 0);
      this.cancel = () => clearTimeout(turn);
    } else if (page.hidden) {
      const timer = setTimeout(() => this.flush(), HIDDEN_INTERVAL_MS);
      this.cancel = () => clearTimeout(timer);
    } else {
      const frame = requestAnimationFrame(() => this.flush());
      this.cancel = () => cancelAnimationFrame(frame);
    }
  }

  #reschedule() {
    if (this.cancel === null) return;
    this.cancel();
    this.#schedule();
  }
}
