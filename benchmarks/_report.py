"""What a benchmark has found: tables, plots, targets. Printed as they come, kept as JSON, and documented.

A cell is a text, a number, the figures of several runs (shown as `median (least-most)`), or None. Knows
nothing of what is measured. `_document` makes Markdown and pictures of the JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import zmq

from pipeline import __version__

Cell = str | float | Sequence[float] | None
DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMANDS = {
    "nginx": ["-v"],
    "nats-server": ["-v"],
    "pushpin": ["--version"],
    "node": ["--version"],
    "centrifugo": ["version"],
    "chromium": ["--version"],
}
"""How a program is asked which version it is."""


def shown(cell: Cell, decimals: int) -> str:
    """Return a cell as text; figures with so many decimals."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int | float):
        return f"{cell:,.{decimals}f}"
    middle = f"{statistics.median(cell):,.{decimals}f}"
    if len(cell) == 1:
        return middle
    return f"{middle} ({min(cell):,.{decimals}f}-{max(cell):,.{decimals}f})"


def middle(cell: Cell) -> float | None:
    """Return the one number that stands for a cell, if there is one."""
    if cell is None or isinstance(cell, str):
        return None
    return float(cell) if isinstance(cell, int | float) else statistics.median(cell)


@dataclass(slots=True)
class Table:
    """Args:
    title: what it is about, one line.
    columns: (head, decimals) of each column; the first one holds the rows' names.
    rows: the cells of each row.
    """

    title: str
    columns: list[tuple[str, int]]
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Add a row.

        Raises:
            ValueError: it has not as many cells as there are columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns of {self.title!r}")
        self.rows.append([_rounded(cell) for cell in cells])

    def text(self) -> str:
        """Return it for a terminal."""
        texts = [[head for head, _ in self.columns]]
        texts += [
            [shown(cell, decimals) for cell, (_, decimals) in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        lines = [
            "  ".join(
                text.rjust(width) if at else text.ljust(width) for at, (text, width) in enumerate(pairs)
            )
            for pairs in (list(zip(row, widths, strict=True)) for row in texts)
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])


def _rounded(cell: Cell) -> Any:
    if isinstance(cell, float):
        return float(f"{cell:.5g}")
    if cell is None or isinstance(cell, str | int):
        return cell
    return [_rounded(value) for value in cell]


class Report:
    """Args:
    name: the benchmark's.
    scale: how much is measured: `quick`, `normal`, `full`, `smallest`, or what options say.
    into: directory of `BENCHMARKS.md`, where figures are kept; None to print only.
    programs: those whose versions count, of `COMMANDS` and of Python's packages.
    """

    def __init__(self, name: str, scale: str, into: Path | None, programs: Sequence[str] = ()) -> None:
        self.name = name
        self._into = into
        self._began = time.monotonic()
        self._record: dict[str, Any] = {
            "name": name,
            "scale": scale,
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "versions": versions(programs),
            "tables": [],
            "plots": [],
            "targets": [],
            "notes": [],
        }

    def note(self, text: str) -> None:
        """Say something that belongs to the figures, such as what was left out."""
        print(text, flush=True)
        self._record["notes"].append(text)

    def add(self, table: Table) -> Table:
        """Take a table that is full, and print it."""
        print(f"\n{table.text()}", flush=True)
        self._record["tables"].append(asdict(table))
        return table

    def target(self, what: str, found: float, sign: str, wanted: float, decimals: int = 2) -> None:
        """Hold a figure against what is wanted.

        Args:
            what: of what, with its unit.
            found: the figure.
            sign: `<=` or `>=`.
            wanted: the bound.
            decimals: of both.
        """
        met = found <= wanted if sign == "<=" else found >= wanted
        self._record["targets"].append(
            {
                "what": what,
                "found": _rounded(float(found)),
                "sign": sign,
                "wanted": wanted,
                "decimals": decimals,
                "met": bool(met),
            }
        )

    def bars(self, table: Table, column: str, title: str) -> None:
        """Have a bar drawn for each row of a table that has a figure in this column."""
        at = [head for head, _ in table.columns].index(column)
        named = [(str(row[0]), row[at]) for row in table.rows if middle(row[at]) is not None]
        self._record["plots"].append({"kind": "bars", "title": title, "unit": column, "bars": named})

    def lines(
        self, title: str, x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]], log: str = ""
    ) -> None:
        """Have lines drawn.

        Args:
            title: of the plot.
            x: what goes to the right, with its unit.
            y: what goes up.
            series: the points of each line.
            log: which of `x`, `y`, `xy` grows by factors.
        """
        points = {
            name: [[_rounded(float(a)), _rounded(float(b))] for a, b in line]
            for name, line in series.items()
            if line
        }
        self._record["plots"].append(
            {"kind": "lines", "title": title, "x": x, "y": y, "log": log, "lines": points}
        )

    def close(self) -> None:
        """Print the targets, keep everything as JSON, and put it into the document, if that is wanted."""
        self._record["seconds"] = round(time.monotonic() - self._began)
        targets = self._record["targets"]
        if targets:
            print(f"\n{targets_table(targets).text()}", flush=True)
        if self._into is None:
            print("\nnot written down: options of its own were given, and not --write")
            return
        folder = self._into / "benchmarks"
        folder.mkdir(exist_ok=True)
        (folder / f"{self.name}.json").write_text(as_json(self._record))
        from _document import draw

        draw(self._into, [self.name])
        print(f"\nwritten down in {self._into}/BENCHMARKS.md")


def as_json(record: Mapping[str, Any]) -> str:
    """Return a record, a line each table's row."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    lines: list[str] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if lines and (depth > 4 or (depth == 4 and line.strip() in ("]", "],"))):
            lines[-1] += (" " if lines[-1].endswith(",") else "") + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def targets_table(targets: Sequence[Mapping[str, Any]]) -> Table:
    """Return what was wanted, and what was found, as a table."""
    table = Table("What is wanted", [("target", 0), ("wanted", 0), ("found", 0), ("met", 0)])
    for target in targets:
        decimals = target["decimals"]
        table.add(
            target["what"],
            f"{target['sign']} {target['wanted']:,.{decimals}f}",
            f"{target['found']:,.{decimals}f}",
            "yes" if target["met"] else "no",
        )
    return table


def machine() -> dict[str, Any]:
    """Return what the figures are of: processor, memory, kernel, and what else it does."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / 2**20),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def versions(programs: Sequence[str]) -> dict[str, str]:
    """Return the version of scanstream, Python, libzmq, and of each program that is installed."""
    found = {
        "scanstream": __version__,
        "Python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
    }
    for program in programs:
        if program in COMMANDS:
            path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
            if path is None:
                continue
            done = subprocess.run([path, *COMMANDS[program]], capture_output=True, text=True, check=False)
            words = (done.stdout + done.stderr).replace("/", " ").split()
            numbers = [word.lstrip("v") for word in words if any(char.isdigit() for char in word)]
            found[program] = numbers[0] if numbers else "?"
        else:
            found[program] = importlib.metadata.version(program)
    return found
