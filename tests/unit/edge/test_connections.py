"""`/api/connections`: the answers of several edges as one."""

from __future__ import annotations

import pytest

from pipeline.edge.connections import connection_list, read_limit
from pipeline.wire import MAX_CONNECTIONS_TOLD, ConnectionsReply, ConnectionSummary


def one(
    number: int, opened_ms: int, edge: int = 0, channels: tuple[str, ...] = ("scan/demo",)
) -> ConnectionSummary:
    return ConnectionSummary(
        id=f"c{number}", edge=edge, wire="native", channels=list(channels), address="127.0.0.1",
        opened_ms=opened_ms, duration_s=1.23456, messages=3, bytes=400, lag_events=2, frames_per_s=5,
        skipped=1,
    )  # fmt: skip


def test_one_connection_is_told_wholly() -> None:
    answer = connection_list(
        [ConnectionsReply(1, 1, [one(1, 1_795_416_705_922, 3, ("scan/demo", "report/r1"))])],
        10,
        complete=True,
    )
    assert answer == {
        "connections": [
            {
                "connection_id": "c1",
                "edge": 3,
                "wire": "native",
                "scans": ["demo"],
                "reports": ["r1"],
                "address": "127.0.0.1",
                "opened_at": "2026-11-23T06:51:45.922Z",
                "duration": 1.235,
                "messages": 3,
                "bytes": 400,
                "lag": 2,
                "pace": 5,
                "skipped": 1,
            }
        ],
        "total": 1,
        "edges": 1,
        "complete": True,
    }


def test_the_oldest_of_all_edges_are_told_and_all_are_counted() -> None:
    replies = [
        ConnectionsReply(1, 70, [one(1, 10), one(2, 30)]),
        ConnectionsReply(2, 5, [one(3, 20, 1), one(4, 40, 1)]),
    ]
    answer = connection_list(replies, 3, complete=False)
    found = answer["connections"]
    assert isinstance(found, list)
    assert [each["connection_id"] for each in found] == ["c1", "c3", "c2"]
    assert (answer["total"], answer["edges"], answer["complete"]) == (75, 2, False)


def test_the_limit_is_a_number_within_bounds() -> None:
    assert read_limit(None) == MAX_CONNECTIONS_TOLD
    assert read_limit("7") == 7
    for bad in ("0", "1001", "-1", "x", "", "\xb2", "9" * 5_000):
        with pytest.raises(ValueError, match="limit="):
            read_limit(bad)
