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

  /** @param {number[]} values oldest first; the highest touches the top, zero the bottom */
  draw(values) {
    const highest = Math.max(1, ...values);
    const points = values.map((value, i) => {
      const x = (i * WIDTH) / (values.length - 1);
      const y = HEIGHT - 1.5 - (value / highest) * (HEIGHT - 3);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    setAttribute(this.line, "d", `M${points.join("L")}`);
    setAttribute(this.area, "d", `M0,${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`);
  }
}
