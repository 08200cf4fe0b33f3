"""Connections as they are told: one, and all added up."""

from __future__ import annotations

from pipeline.edge.told import Figures, Sums, summary
from pipeline.wire import ReadersSummary


def figures(channel: str = "scan/a", *, lag: int = 0, pace: int = 10, wire: str = "native") -> Figures:
    return Figures(channel, wire, 3, 400, 1.5, 2, lag, pace)


def test_a_connection_of_several_scans_is_one() -> None:
    (told,) = summary(
        "c", 2, "::1", [figures(""), figures("scan/a", lag=4), figures("scan/b", pace=5)], 9_500
    )
    assert (told.id, told.edge, told.address, told.channels) == ("c", 2, "::1", ["scan/a", "scan/b"])
    assert (told.opened_ms, told.messages, told.bytes) == (8_000, 3, 400)
    assert (told.lag_events, told.frames_per_s, told.skipped) == (4, 5, 6)


def test_a_connection_that_is_not_open_yet_is_not_told() -> None:
    assert summary("c", 0, "::1", [], 0) == []
    sums = Sums()
    sums.add([])
    assert sums.told() == ReadersSummary()


def test_connections_are_added_up_by_wire_and_pace() -> None:
    sums = Sums()
    sums.add([figures()])
    sums.add([figures(""), figures(lag=7), figures(lag=5, pace=2)])
    sums.add([figures(wire="sse", lag=11)])
    assert sums.told() == ReadersSummary({"native": 2, "sse": 1}, {10: 2, 2: 1}, 9, 1_200, 12, 10)
