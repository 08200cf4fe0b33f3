"""Puts the figures of `docs/benchmarks/NAME.json` into `docs/BENCHMARKS.md`, and draws their pictures.

What stands between two markers is made here, and only of the JSON; all else in the document is written by
hand. A benchmark that has not been run has markers, too: what stands between them says so.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _drawing
from _report import shown, targets_table

OURS = "scanstream"
SCALES = {"quick": "`--quick`", "full": "`--full`", "smallest": "`--smallest`"}


def names(folder: Path) -> list[str]:
    """Return the benchmarks of a directory."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.name.startswith("_"))


def markers(name: str) -> tuple[str, str]:
    """Return what stands before and behind the generated part of a benchmark."""
    return f"<!-- figures of {name}: written by bin/bench -->", f"<!-- end of {name} -->"


def _table(columns: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> list[str]:
    heads = [head or " " for head, _ in columns]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in rows:
        cells = [shown(cell, decimals) for cell, (_, decimals) in zip(row, columns, strict=True)]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def pictures(record: Mapping[str, Any]) -> dict[str, str]:
    """Return file name -> SVG of each plot of a record."""
    found = {}
    for number, plot in enumerate(record["plots"], 1):
        if plot["kind"] == "bars":
            svg = _drawing.bars(plot["title"], plot["unit"], plot["bars"], OURS)
        else:
            svg = _drawing.lines(plot["title"], plot["x"], plot["y"], plot["lines"], plot["log"])
        found[f"{record['name']}-{number}.svg"] = svg
    return found


def block(name: str, record: Mapping[str, Any] | None) -> str:
    """Return what stands between the markers of a benchmark, in Markdown."""
    if record is None:
        return f"Not measured yet: `bin/bench {name}`."
    machine = record["machine"]
    versions = ", ".join(f"{program} {version}" for program, version in record["versions"].items())
    scale = SCALES.get(record["scale"], record["scale"])
    how = f"`bin/bench {name}`" if scale == "normal" else f"`bin/bench {name}` with {scale}"
    lines = [
        f"{how}, {record['date']}, {record['seconds']} s: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, load average before it "
        f"{machine['load_before']}. {versions}.",
    ]
    for note in record["notes"]:
        lines += ["", f"- {note}"] if lines[-1][:1] != "-" else [f"- {note}"]
    for table in record["tables"]:
        lines += ["", f"**{table['title']}**", "", *_table(table["columns"], table["rows"])]
    for file, plot in zip(pictures(record), record["plots"], strict=True):
        lines += ["", f"![{plot['title']}](benchmarks/{file})"]
    if record["targets"]:
        targets = targets_table(record["targets"])
        lines += ["", f"**{targets.title}**", "", *_table(targets.columns, targets.rows)]
    return "\n".join(lines)


def placed(text: str, name: str, made: str) -> str:
    """Return the document with this between the markers of a benchmark.

    Raises:
        ValueError: the document has no such markers.
    """
    before, behind = markers(name)
    pattern = re.compile(f"{re.escape(before)}\n.*?{re.escape(behind)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(
            f"BENCHMARKS.md needs the lines {before!r} and {behind!r} once, in a section of {name}"
        )
    return pattern.sub(lambda _: f"{before}\n{made}\n{behind}", text)


def records(into: Path) -> dict[str, dict[str, Any]]:
    """Return what is kept of each benchmark that has been run."""
    paths = sorted((into / "benchmarks").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths}


def summary(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all targets of all benchmarks as one table."""
    rows = []
    for name, record in kept.items():
        table = targets_table(record["targets"])
        rows += [[f"[{name}](#{name})", *row] for row in table.rows]
    if not rows:
        return "Nothing measured yet: `bin/bench`."
    met = statistics.fmean(row[-1] == "yes" for row in rows)
    columns = [("benchmark", 0), ("target", 0), ("wanted", 0), ("found", 0), ("met", 0)]
    count = round(met * len(rows))
    return "\n".join([f"{count} of {len(rows)} targets are met.", "", *_table(columns, rows)])


def draw(into: Path, which: Sequence[str]) -> None:
    """Make the generated parts of some benchmarks, their pictures, and the summary anew.

    Args:
        into: directory of `BENCHMARKS.md`.
        which: benchmarks.
    """
    document = into / "BENCHMARKS.md"
    text = document.read_text()
    kept = records(into)
    for name in which:
        record = kept.get(name)
        text = placed(text, name, block(name, record))
        drawn = pictures(record) if record else {}
        for old in (into / "benchmarks").glob(f"{name}-*.svg"):
            if old.name not in drawn:
                old.unlink()
        for file, svg in drawn.items():
            (into / "benchmarks" / file).write_text(svg)
    document.write_text(placed(text, "all", summary(kept)))
