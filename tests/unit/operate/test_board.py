"""The document of `top`, with exact times."""

from __future__ import annotations

import json
from typing import Any

from pipeline.operate.board import MAX_CONNECTIONS, MAX_SCANS, Board, Snapshot
from pipeline.operate.processes import ProcessFigures
from pipeline.stages import Told
from pipeline.wire import ChannelSummary, ConnectionSummary, StatsReply


def scan(name: str, events: int = 1, per_s: float = 0.0, status: str = "running") -> ChannelSummary:
    return ChannelSummary(
        channel=f"scan/{name}", epoch=1, seq=max(0, events - 1), status=status, phase=None, progress=None,
        started_ms=0, elapsed_s=1.5, frames=1, events=events, merged=0, counts={}, best_effort=False,
        events_per_s=per_s,
    )  # fmt: skip


def reader(name: str, lag: int = 0) -> ConnectionSummary:
    return ConnectionSummary(name, 0, "native", ["scan/a"], "127.0.0.1", 0, 1.0, 5, 500, lag, 10, 0)


def snapshot(
    now: float,
    cpu_s: float,
    scans: list[ChannelSummary] | None = None,
    connections: list[ConnectionSummary] | None = None,
) -> Snapshot:
    stats = [StatsReply(1, f"shard-{shard}", {"events": 10 * now}, 7, "1.0") for shard in range(2)]
    told = [Told("edge-0"), *(Told(one.stage, one) for one in stats)]
    found = connections or []
    return Snapshot(
        told, scans or [], found, len(found), {7: ProcessFigures("S", 2**20, cpu_s)}, now, int(now * 1000)
    )


def stages(document: dict[str, object]) -> dict[str, Any]:
    found = document["stages"]
    assert isinstance(found, list)
    return {stage["name"]: stage for stage in found}


def test_cpu_is_made_of_two_snapshots() -> None:
    board = Board("/run/x")
    first = stages(board.document(snapshot(100.0, 5.0)))
    assert first["shard-0"]["process"] == {
        "pid": 7,
        "state": "S",
        "rss_bytes": 2**20,
        "cpu_percent": None,
    }
    second = stages(board.document(snapshot(102.0, 6.0)))
    assert [second[name]["process"]["cpu_percent"] for name in ("shard-0", "shard-1")] == [50.0, 50.0]
    assert second["shard-0"]["rates"]["events_per_s"] == 10.0
    assert second["edge-0"]["process"] is None
    assert second["edge-0"]["problems"] == ["silent"]


def test_cpu_is_not_made_of_two_that_are_too_close_nor_of_two_processes() -> None:
    board = Board("/run/x")
    board.document(snapshot(100.0, 5.0))
    assert stages(board.document(snapshot(100.01, 5.0)))["shard-0"]["process"]["cpu_percent"] is None
    restarted = stages(board.document(snapshot(101.0, 0.5)))
    assert restarted["shard-0"]["process"]["cpu_percent"] == 0.0


def test_the_busiest_scans_and_the_readers_most_behind_come_first() -> None:
    scans = [scan("quiet"), scan("over", 99, 9.0, "completed"), scan("busy", 5, 7.0), scan("big", 50)]
    document = Board("/run/x").document(snapshot(1.0, 0.0, scans, [reader("a"), reader("b", 7)]))
    assert [one["channel"] for one in _list(document, "scans")] == [
        "scan/busy",
        "scan/big",
        "scan/quiet",
        "scan/over",
    ]
    assert [one["id"] for one in _list(document, "connections")] == ["b", "a"]
    assert _list(document, "scans")[1]["unpublished"] == 1


def test_lists_have_a_bound_and_tell_how_many_there_are() -> None:
    scans = [scan(str(number)) for number in range(MAX_SCANS + 3)]
    readers = [reader(str(number)) for number in range(MAX_CONNECTIONS + 2)]
    document = Board("/run/x").document(snapshot(1.0, 0.0, scans, readers))
    assert len(_list(document, "scans")) == MAX_SCANS
    assert len(_list(document, "connections")) == MAX_CONNECTIONS
    assert (document["scans_total"], document["connections_total"]) == (MAX_SCANS + 3, MAX_CONNECTIONS + 2)


def test_it_can_be_json() -> None:
    document = Board("/run/x").document(snapshot(1.0, 0.0, [scan("a")], [reader("a")]))
    assert json.loads(json.dumps(document)) == document


def _list(document: dict[str, object], name: str) -> list[Any]:
    found = document[name]
    assert isinstance(found, list)
    return found
