"""The figures as text, for a terminal of any size and for a file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.tail.figures import plain, table
from pipeline.tail.rates import OTHERS, Row

ROWS = [Row("scan/demo", "portFound", 120, 12.25, 12), Row("report/demo", "reportPhase", 4, 0.0, 0)]


def test_a_table() -> None:
    assert table(ROWS, 124, 61.4, (80, 24)) == [
        "124 events, 12.2/s, 2 scans, 2 of scan and type, 61 s",
        "SCAN         TYPE            EVENTS     PER S",
        "demo         portFound          120      12.2",
        "report/demo  reportPhase          4       0.0",
    ]


def test_what_has_no_rate() -> None:
    rows = [Row("scan/demo", "portFound", 120, None, 12)]
    assert table(rows, 120, 1.0, (80, 24))[0] == "120 events, -/s, 1 scans, 1 of scan and type, 1 s"
    assert table(rows, 120, 1.0, (80, 24))[2] == "demo  portFound        120         -"


def test_a_table_without_events() -> None:
    assert table([], 0, 1.0, (80, 24))[1:] == ["SCAN  TYPE     EVENTS     PER S"]


@pytest.mark.parametrize("size", [(80, 24), (20, 5), (1, 1), (200, 60)])
def test_it_fits_the_terminal(size: tuple[int, int]) -> None:
    rows = [Row(f"scan/{'x' * 100}{number}", "a" * 200, number, 1.0, 1) for number in range(100)]
    lines = table(rows, 4950, 10.0, size)
    assert all(len(line) <= size[0] for line in lines)
    assert len(lines) <= max(size[1] - 1, 5)
    if size[0] >= 80:
        assert lines[-1].startswith(f"and {100 - (len(lines) - 3)} more: ")
        assert len({line.partition(" ")[0] for line in lines[2:4]}) == 1  # cut, with a mark
        assert "…" in lines[2]


def test_lines_are_of_what_came_lately() -> None:
    now = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert plain(ROWS, now) == ["07:08:09.123 demo portFound events=120 fresh=12 per_s=12.2"]
    assert plain([Row(*OTHERS, 5, 1.0, 5)], now) == ["07:08:09.123 (others) - events=5 fresh=5 per_s=1.0"]


def test_nothing_hostile_gets_through() -> None:
    rows = [Row("scan/demo", "a\x1b[2J\n\u202e", 1, 1.0, 1)]
    for line in [*table(rows, 1, 1.0, (200, 24)), *plain(rows, datetime.now(UTC))]:
        assert line.isprintable()
