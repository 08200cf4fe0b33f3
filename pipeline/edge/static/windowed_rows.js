/**
 * A list of any length in the flow of the page, of which only the rows in sight exist.
 *
 * Rows have one height, read from the style sheet (`--row-height` of the list). Each row has one thing to focus; the
 * arrow keys, Home, End and Page keys go from row to row, and Tab enters and leaves the list as a whole.
 */

const OVERSCAN_ROWS = 6;

export class WindowedRows {
  /**
   * @param {HTMLElement} element the list
   * @param {(key: string) => {element: HTMLElement, focusable: HTMLElement, update: (item: object, now: number) => void}} make
   *   makes a row
   * @param {(item: object) => string} keyOf what a row is of: the same key, the same row
   */
  constructor(element, make, keyOf) {
    this.element = element;
    this.make = make;
    this.keyOf = keyOf;
    this.items = [];
    this.rows = new Map();
    this.current = null;
    this.rowHeight = 0;
    this.drawing = null;
    this.now = 0;
    this.onMove = () => this.#drawSoon();
    this.onResize = () => {
      this.rowHeight = 0;
      this.#drawSoon();
    };
    window.addEventListener("scroll", this.onMove, { passive: true });
    window.addEventListener("resize", this.onResize);
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("focusin", ({ target }) => this.#focused(target));
  }

  close() {
    window.removeEventListener("scroll", this.onMove);
    window.removeEventListener("resize", this.onResize);
    cancelAnimationFrame(this.drawing);
  }

  /** Show these. @param {object[]} items in order @param {number} now monotonic milliseconds, for the rows */
  show(items, now) {
    this.items = items;
    this.now = now;
    this.#draw(true);
  }

  #drawSoon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.#draw();
    });
  }

  /** @param {boolean} all whether rows that are there may show something else than before */
  #draw(all = false) {
    this.rowHeight ||= Number.parseFloat(getComputedStyle(this.element).getPropertyValue("--row-height")) || 1;
    const { items, rowHeight } = this;
    this.element.style.height = `${items.length * rowHeight}px`;
    const top = -this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / rowHeight) - OVERSCAN_ROWS);
    const end = Math.min(items.length, Math.ceil((top + window.innerHeight) / rowHeight) + OVERSCAN_ROWS);
    const indices = [];
    for (let index = first; index < end; index += 1) indices.push(index);
    // The row that is focused stays: if it went, the keyboard would be back at the top of the page.
    const held = this.current === null ? -1 : items.findIndex((item) => this.keyOf(item) === this.current);
    if (held >= 0 && held < first) indices.unshift(held);
    if (held >= end) indices.push(held);
    if (held < 0) this.current = null;
    // What goes, goes first: a row that stays must not be moved, for one that is moved loses the focus.
    const stay = new Set(indices.map((index) => this.keyOf(items[index])));
    for (const [key, row] of this.rows) {
      if (stay.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    let place = this.element.firstElementChild;
    for (const index of indices) {
      const key = this.keyOf(items[index]);
      let row = this.rows.get(key);
      const isNew = row === undefined;
      if (isNew) {
        row = this.make(key);
        this.rows.set(key, row);
      }
      if (all || isNew) row.update(items[index], this.now);
      row.element.style.transform = `translateY(${index * rowHeight}px)`;
      row.element.setAttribute("aria-posinset", String(index + 1));
      row.element.setAttribute("aria-setsize", String(items.length));
      row.focusable.tabIndex = index === (held >= 0 ? held : indices[0]) ? 0 : -1;
      if (row.element === place) place = place.nextElementSibling;
      else this.element.insertBefore(row.element, place);
    }
  }

  #focused(target) {
    for (const [key, row] of this.rows) if (row.focusable === target) this.current = key;
  }

  #key(event) {
    const at = this.items.findIndex((item) => this.keyOf(item) === this.current);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(window.innerHeight / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const to = Math.min(this.items.length - 1, Math.max(0, at + step));
    this.current = this.keyOf(this.items[to]);
    this.#draw();
    this.rows.get(this.current).focusable.focus();
  }
}
