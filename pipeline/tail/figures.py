"""The figures of `tail --stats` as text: a table for a terminal, lines for anything else. Pure.

What stands in it is written by attackers, and escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.log import escape
from pipeline.tail.rates import Row
from pipeline.tail.render import clock, short_channel

_NAME_CHARACTERS = 40
_MIN_ROWS = 3


def table(rows: Sequence[Row], total: int, lasted_s: float, size: tuple[int, int]) -> list[str]:
    """Return a table of the figures, the fastest first.

    Args:
        rows: the figures.
        total: how many events there were.
        lasted_s: for how long they were counted.
        size: columns and lines of the terminal; what has no room is summed up in the last line.
    """
    columns, lines = size
    live = [row.per_s for row in rows if row.per_s is not None]
    per_s = _rate(sum(live) if live else None)
    scans = len({row.channel for row in rows})
    text = [f"{total} events, {per_s}/s, {scans} scans, {len(rows)} of scan and type, {lasted_s:.0f} s"]
    room = max(lines - 3, _MIN_ROWS)
    shown = rows if len(rows) <= room else rows[: room - 1]
    names = [(_cut(short_channel(row.channel)), _cut(escape(row.type))) for row in shown]
    channel_width = max([4, *(len(channel) for channel, _ in names)])
    type_width = max([4, *(len(name) for _, name in names)])
    text.append(f"{'SCAN':{channel_width}}  {'TYPE':{type_width}}  {'EVENTS':>9}  {'PER S':>8}")
    text += [
        f"{channel:{channel_width}}  {name:{type_width}}  {row.events:>9}  {_rate(row.per_s):>8}"
        for (channel, name), row in zip(names, shown, strict=True)
    ]
    if len(shown) < len(rows):
        rest = rows[len(shown) :]
        text.append(f"and {len(rest)} more: {sum(row.events for row in rest)} events")
    return [line[:columns] for line in text]


def plain(rows: Sequence[Row], arrived: datetime) -> list[str]:
    """Return a line for each scan and type that had events since the lines before.

    Args:
        rows: the figures.
        arrived: the time that stands in each line, with a time zone.
    """
    now = clock(None, arrived)
    return [
        f"{now} {short_channel(row.channel)} {escape(row.type) or '-'} events={row.events} "
        f"fresh={row.fresh} per_s={_rate(row.per_s)}"
        for row in rows
        if row.fresh
    ]


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:.1f}"


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_CHARACTERS else text[: _NAME_CHARACTERS - 1] + "…"
