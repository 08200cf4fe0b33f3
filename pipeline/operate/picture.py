"""The document of `top` as lines of text that fit a terminal. Pure.

Every name in it was chosen by somebody else, and is escaped; widths are those of a terminal's cells, so that
a name in wide characters pushes nothing out of its column.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

from pipeline.log import escape

Row: TypeAlias = Mapping[str, object]


class Column(NamedTuple):
    """A column of a table: its title, its width in cells, and what stands in it; numbers are to the right."""

    title: str
    width: int
    value: Callable[[Row], str]
    right: bool = True


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(map(_cells, text))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return a text cut, with a mark, or filled up, to exactly so many cells."""
    if cells(text) > width:
        kept, left = [], width - 1
        for character in text:
            left -= _cells(character)
            if left < 0:
                break
            kept.append(character)
        text = "".join(kept) + "…" if width > 0 else ""
    blank = " " * (width - cells(text))
    return blank + text if right else text + blank


def lines(document: Row, columns: int, rows: int | None = None) -> list[str]:
    """Return the document as text.

    Args:
        document: what `Board.document` returns.
        columns: the width of the terminal, in cells; nothing is longer.
        rows: its height; None for as many lines as there are. What has no room is counted.
    """
    stages = _rows(document, "stages")
    scans, connections = _rows(document, "scans"), _rows(document, "connections")
    room = None if rows is None else max(rows - 4, 3)
    of_stages, of_scans, of_connections = _share(room, len(stages), len(scans), len(connections))
    text = [
        _head(document, stages),
        *_table(_STAGES, stages, of_stages, len(stages)),
        *_table(_SCANS, scans, of_scans, cast(int, document["scans_total"])),
        *_table(_CONNECTIONS, connections, of_connections, cast(int, document["connections_total"])),
    ]
    return [fit(line, columns).rstrip() for line in text[:rows]]


def _share(room: int | None, *wanted: int) -> list[int]:
    """Return how many lines each table gets: what it wants while there is room, else at least its part."""
    if room is None:
        return list(wanted)
    shares = [0] * len(wanted)
    left = room
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    for done, at in enumerate(order):  # what a small table leaves is for the others
        shares[at] = min(wanted[at], left // (len(order) - done))
        left -= shares[at]
    return shares


def _table(columns: Sequence[Column], rows: Sequence[Row], room: int, total: int) -> list[str]:
    title = " ".join(fit(column.title, column.width, right=column.right) for column in columns)
    shown = len(rows) if room >= total else max(0, room - 1)
    text = [title]
    text += [
        " ".join(fit(column.value(row), column.width, right=column.right) for column in columns)
        for row in rows[:shown]
    ]
    if shown < total:
        text.append(f"… and {total - shown} more")
    return text


def _head(document: Row, stages: Sequence[Row]) -> str:
    problems = sum(bool(stage["problems"]) for stage in stages)
    wrong = f"{problems} with problems" if problems else "all well"
    clock = str(document["at"])[11:19]
    return (
        f"scanstream {clock}Z  {len(stages)} stages, {wrong}; {document['scans_total']} scans, "
        f"{document['connections_total']} readers  {escape(str(document['run_dir']))}"
    )


def _rows(document: Row, name: str) -> Sequence[Row]:
    return cast(Sequence[Row], document[name])


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# --- what stands in the columns -----------------------------------------------------------------------


def _text(*path: str) -> Callable[[Row], str]:
    return lambda row: escape(str(value)) if (value := _at(row, path)) is not None else "-"


def _number(*paths: tuple[str, ...], digits: int = 0) -> Callable[[Row], str]:
    """Return what shows the first number that a row has at one of the paths."""

    def shown(row: Row) -> str:
        found = next((value for path in paths if (value := _at(row, path)) is not None), None)
        return _short(float(found), digits) if isinstance(found, int | float) else "-"

    return shown


def _at(row: Row, path: Sequence[str]) -> object:
    value: object = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: float, digits: int) -> str:
    if abs(value) < 10_000:
        return f"{value:.{digits}f}"
    if abs(value) < 10_000_000:
        return f"{value / 1e3:.0f}k"
    return f"{value / 1e6:.0f}M" if abs(value) < 10_000_000_000 else f"{value / 1e9:.0f}G"


def _memory(row: Row) -> str:
    value = _at(row, ("process", "rss_bytes"))
    return f"{value / 2**20:.0f}M" if isinstance(value, int | float) else "-"


def _delay(row: Row) -> str:
    value = row.get("delay_s")
    return f"{value * 1000:.0f}ms" if isinstance(value, int | float) else "-"


def _channel(row: Row) -> str:
    return escape(str(row["channel"]).removeprefix("scan/"))


def _channels(row: Row) -> str:
    names = [escape(str(name).removeprefix("scan/")) for name in cast(Sequence[object], row["channels"])]
    return ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "") or "-"


def _problems(row: Row) -> str:
    return " ".join(escape(str(problem)) for problem in cast(Sequence[object], row["problems"]))


_STAGES = (
    Column("STAGE", 11, _text("name"), right=False),
    Column("PID", 7, _text("pid")),
    Column("CPU%", 5, _number(("process", "cpu_percent"))),
    Column("MEM", 6, _memory),
    Column("IN/S", 8, _number(("rates", "events_per_s"), ("rates", "frames_per_s"), digits=1)),
    Column("OUT/S", 8, _number(("rates", "messages_per_s"), ("rates", "frames_per_s"), digits=1)),
    Column("QUEUE", 7, _number(("queue", "events"), ("readers", "lag"), ("messages", "waiting"))),
    Column("DELAY", 7, _delay),
    Column("PROBLEMS", 12, _problems, right=False),
)
_SCANS = (
    Column("SCAN", 26, _channel, right=False),
    Column("STATUS", 9, _text("status"), right=False),
    Column("PHASE", 14, _text("phase"), right=False),
    Column("%", 3, _number(("progress",))),
    Column("EVENTS", 8, _number(("events",))),
    Column("EV/S", 7, _number(("events_per_s",), digits=1)),
    Column("QUEUE", 6, _number(("unpublished",))),
)
_CONNECTIONS = (
    Column("READER", 21, _text("address"), right=False),
    Column("WIRE", 9, _text("wire"), right=False),
    Column("SCANS", 20, _channels, right=False),
    Column("MESSAGES", 8, _number(("messages",))),
    Column("LAG", 6, _number(("lag_events",))),
    Column("PACE", 4, _number(("frames_per_s",))),
    Column("SKIP", 5, _number(("skipped",))),
)
