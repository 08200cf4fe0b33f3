"""Pictures of figures as SVG: bars with their spread, and lines. Pure: figures in, text out.

Readable on light and on dark paper: the picture says how it looks on either, and its ground is clear.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 720
BAR_HEIGHT, BAR_PITCH = 16, 26
RIGHT, TOP = 110, 44
LETTER = 6.4
"""How wide one is, about."""
LINES_HEIGHT, LINES_LEFT, LINES_BOTTOM = 260, 64, 46
LIGHT = ("#0b6bcb", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be185d", "#0f766e", "#475569")
DARK = ("#5eb1ff", "#ff9a5c", "#5fd38a", "#c99bff", "#e6c04a", "#ff8fc1", "#4fd1c5", "#a3b3c7")
OTHERS = 7
"""The colour of what is not ours, in bars."""


def _style() -> str:
    def rules(colours: Sequence[str], text: str, faint: str) -> str:
        own = "".join(f".f{at}{{fill:{c}}}.s{at}{{stroke:{c}}}" for at, c in enumerate(colours))
        return f"text{{fill:{text}}}.axis{{stroke:{faint}}}.spread{{stroke:{text}}}{own}"

    return (
        "<style>text{font:12px system-ui,sans-serif}.title{font-size:14px;font-weight:600}"
        ".line{fill:none;stroke-width:2}.end{text-anchor:end}.mid{text-anchor:middle}"
        f"{rules(LIGHT, '#1f2328', '#b6bec8')}"
        f"@media(prefers-color-scheme:dark){{{rules(DARK, '#e6edf3', '#57606a')}}}</style>"
    )


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-label="{escape(title)}">',
            _style(),
            f'<text class="title" x="8" y="20">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def short(value: float) -> str:
    """Return a figure with three digits that count."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bars(title: str, unit: str, rows: Sequence[tuple[str, float | Sequence[float]]], ours: str) -> str:
    """Draw a bar a row, from the median, with a line from the least to the most.

    Args:
        title: above it.
        unit: of the figures.
        rows: a name and its figure, or those of its runs.
        ours: names that hold this word are ours, and coloured so.
    """
    figures = [(name, list(v) if not isinstance(v, int | float) else [v]) for name, v in rows]
    most = max((max(values) for _, values in figures), default=1) or 1
    left = 16 + LETTER * max((len(name) for name, _ in figures), default=0)
    room = WIDTH - left - RIGHT
    parts = [f'<text class="end" x="{WIDTH - 8}" y="20">{escape(unit)}</text>']
    for at, (name, values) in enumerate(figures):
        y = TOP + at * BAR_PITCH
        value = statistics.median(values)
        length = max(0.0, value / most) * room
        colour = 0 if ours in name else OTHERS
        parts.append(f'<text class="end" x="{left - 8:.0f}" y="{y + 12}">{escape(name)}</text>')
        parts.append(
            f'<rect class="f{colour}" x="{left:.0f}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}"/>'
        )
        end = length
        if len(values) > 1:
            low, end = (max(0.0, bound / most) * room for bound in (min(values), max(values)))
            middle = y + BAR_HEIGHT / 2
            parts.append(
                f'<path class="spread" d="M{left + low:.1f} {middle}H{left + end:.1f}'
                f"M{left + low:.1f} {middle - 4}v8M{left + end:.1f} {middle - 4}v8" + '" fill="none"/>'
            )
        parts.append(f'<text x="{left + max(end, length) + 6:.1f}" y="{y + 12}">{short(value)}</text>')
    return _svg(TOP + len(figures) * BAR_PITCH + 6, title, parts)


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Return round numbers from `low` to `high`; at least two."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        step = max(1, (last - first) // 6)
        return [10.0**power for power in range(first, max(last, first + 1) + 1, step)]
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def lines(title: str, x: str, y: str, series: Mapping[str, Sequence[Sequence[float]]], log: str = "") -> str:
    """Draw lines with their points.

    Args:
        title: above it.
        x: what goes to the right.
        y: what goes up; it begins at 0 unless it grows by factors.
        series: the points of each line.
        log: which of `x`, `y`, `xy` grows by factors; its values are above 0.
    """
    points = [point for line in series.values() for point in line]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    x_ticks = ticks(min(xs), max(max(xs), min(xs) + 1e-9), log="x" in log)
    y_ticks = ticks(min(ys) if "y" in log else 0.0, max(max(ys), 1e-9), log="y" in log)
    legend_rows = math.ceil(len(series) / 3)
    top = 34 + legend_rows * 18 + 10
    width, height = WIDTH - LINES_LEFT - 24, LINES_HEIGHT

    def part(value: float, of: Sequence[float], *, log: bool) -> float:
        low, high = of[0], of[-1]
        if log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def at_x(value: float) -> float:
        return LINES_LEFT + part(value, x_ticks, log="x" in log) * width

    def at_y(value: float) -> float:
        return top + height - part(value, y_ticks, log="y" in log) * height

    parts = [
        f'<path class="axis" d="M{LINES_LEFT} {at_y(value):.1f}h{width}" opacity=".5"/>'
        f'<text class="end" x="{LINES_LEFT - 6}" y="{at_y(value) + 4:.1f}">{short(value)}</text>'
        for value in y_ticks
    ]
    parts += [
        f'<path class="axis" d="M{at_x(value):.1f} {top + height}v5"/>'
        f'<text class="mid" x="{at_x(value):.1f}" y="{top + height + 18}">{short(value)}</text>'
        for value in x_ticks
    ]
    parts.append(f'<text class="end" x="{WIDTH - 24}" y="{top + height + 36}">{escape(x)}</text>')
    parts.append(f'<text class="end" x="{WIDTH - 8}" y="20">{escape(y)}</text>')
    for at, (name, line) in enumerate(series.items()):
        colour = at % len(LIGHT)
        path = "L".join(f"{at_x(a):.1f} {at_y(b):.1f}" for a, b in line)
        parts.append(f'<path class="line s{colour}" d="M{path}"/>')
        if len(line) <= 20:
            parts += [
                f'<circle class="f{colour}" cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="3"/>' for a, b in line
            ]
        left, row = 8 + (at % 3) * 236, 40 + (at // 3) * 18
        parts.append(
            f'<rect class="f{colour}" x="{left}" y="{row - 9}" width="10" height="10"/>'
            f'<text x="{left + 15}" y="{row}">{escape(name)}</text>'
        )
    return _svg(top + height + LINES_BOTTOM, title, parts)
