/** A minute of events per second as a small line. */

import { setAttribute, svg } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 32;

export class Sparkline {
  constructor() {
    this.area = svg("path", { class: "spark-area" });
    this.line = svg("path", { class: "spark-line" });
    this.element = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.area,
      this.line,
    );
  }

  /**
   * @param {(number | null)[]} values oldest first; the highest touches the top, zero the bottom. The first ones may be
   *   null: nothing is drawn there
   */
  draw(values) {
    const from = values.findIndex((value) => value !== null);
    const known = from < 0 ? [] : values.slice(from);
    if (known.length < 2) {
      setAttribute(this.line, "d", null);
      setAttribute(this.area, "d", null);
      return;
    }
    const highest = Math.max(1, ...known);
    const xOf = (i) => ((from + i) * WIDTH) / (values.length - 1);
    const points = known.map((value, i) => {
      const y = HEIGHT - 1.5 - (value / highest) * (HEIGHT - 3);
      return `${xOf(i).toFixed(1)},${y.toFixed(1)}`;
    });
    setAttribute(this.line, "d", `M${points.join("L")}`);
    setAttribute(this.area, "d", `M${xOf(0).toFixed(1)},${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`);
  }
}
