"""The document of `top` as text: it fits, whatever it is of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.operate.picture import cells, fit, lines


def stage(name: str, **further: Any) -> dict[str, Any]:
    return {
        "name": name, "pid": 4711, "delay_s": 0.0125, "problems": [],
        "rates": {"events_per_s": 12.345, "frames_per_s": 3.0},
        "process": {"pid": 4711, "state": "S", "rss_bytes": 35 * 2**20, "cpu_percent": 12.6},
        **further,
    }  # fmt: skip


def scan(channel: str, **further: Any) -> dict[str, Any]:
    return {
        "channel": channel, "status": "running", "phase": "dns", "progress": 42.4, "events": 12_345,
        "events_per_s": 1.25, "unpublished": 3, **further,
    }  # fmt: skip


def reader(*channels: str, **further: Any) -> dict[str, Any]:
    return {
        "address": "127.0.0.1", "wire": "native", "channels": channels, "messages": 5, "lag_events": 0,
        "frames_per_s": 10, "skipped": 0, **further,
    }  # fmt: skip


def document(
    stages: list[dict[str, Any]], scans: list[dict[str, Any]], connections: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "at": "2026-11-26T22:54:49.123Z", "run_dir": "/run/x", "stages": stages,
        "scans": scans, "scans_total": len(scans),
        "connections": connections, "connections_total": len(connections),
    }  # fmt: skip


SMALL = document(
    [stage("shard-0", queue={"events": 7}), stage("edge-0", process=None, problems=["silent", "slow"])],
    [scan("scan/demo"), scan("report/demo", phase=None, progress=None, events=20_000_000)],
    [reader("scan/demo"), reader(*(f"scan/{number}" for number in range(5)))],
)


def test_everything() -> None:
    assert lines(SMALL, 80) == [
        "scanstream 22:54:49Z  2 stages, 1 with problems; 2 scans, 2 readers  /run/x",
        "STAGE           PID  CPU%    MEM     IN/S    OUT/S   QUEUE   DELAY PROBLEMS",
        "shard-0        4711    13    35M     12.3      3.0       7    12ms",
        "edge-0         4711     -      -     12.3      3.0       -    12ms silent slow",
        "SCAN                       STATUS    PHASE            %   EVENTS    EV/S  QUEUE",
        "demo                       running   dns             42      12k     1.2      3",
        "report/demo                running   -                -      20M     1.2      3",
        "READER                WIRE      SCANS                MESSAGES    LAG PACE  SKIP",
        "127.0.0.1             native    demo                        5      0   10     0",
        "127.0.0.1             native    0, 1, 2 +2                  5      0   10     0",
    ]


LARGE = document(
    [stage(f"shard-{number}") for number in range(64)],
    [scan(f"scan/{number}") for number in range(500)],
    [reader(f"scan/{number}") for number in range(500)],
)


@pytest.mark.parametrize("size", [(80, 24), (80, 10), (20, 24), (5, 3), (1, 1), (200, 60), (80, 2_000)])
@pytest.mark.parametrize("shown", [SMALL, LARGE, document([], [], [])])
def test_it_fits_any_terminal(shown: dict[str, Any], size: tuple[int, int]) -> None:
    columns, rows = size
    text = lines(shown, columns, rows)
    assert len(text) <= rows
    assert all(cells(line) <= columns for line in text)


def test_what_has_no_room_is_counted() -> None:
    text = lines(LARGE, 80, 24)
    assert len(text) == 24
    more = [line for line in text if line.startswith("… and ")]
    shown = [sum(line.startswith(start) for line in text) for start in ("shard-",)]
    assert more[0] == f"… and {64 - shown[0]} more"
    assert len(more) == 3


def test_a_small_table_leaves_its_room_to_the_others() -> None:
    text = lines(document([stage("shard-0")], LARGE["scans"], []), 80, 24)
    assert len(text) == 24
    assert sum(" running " in line for line in text) == 18


def test_nothing_hostile_gets_through() -> None:
    evil = "\x1b[2J\n\u202e\x9b"
    shown = document(
        [stage("shard-0", problems=[evil])],
        [scan(f"scan/{evil}", status=evil, phase=evil)],
        [reader(evil, address=evil, wire=evil)],
    )
    shown["run_dir"] = evil
    assert all(line.isprintable() for line in lines(shown, 200))


@given(st.text(max_size=12), st.integers(0, 20), st.booleans())
def test_a_text_takes_exactly_its_cells(text: str, width: int, right: bool) -> None:
    assert cells(fit(text, width, right=right)) == width


def test_wide_characters_take_two_cells() -> None:
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日… "
    assert fit("e\u0301", 2, right=True) == " e\u0301"
