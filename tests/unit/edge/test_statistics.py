"""`GET /api/scans/stats` in HeroForge's shape, and our lists."""

from __future__ import annotations

import json

import msgspec

from pipeline.edge.statistics import rest_events, scan_entry, scan_list, scan_statistics
from pipeline.wire import ChannelSummary, Page, PageHeader

RUNNING = ChannelSummary(
    channel="scan/b",
    epoch=1_700_000_001_500,
    seq=9,
    status="running",
    phase="ports",
    progress=12.5,
    started_ms=1_700_000_001_500,
    elapsed_s=2.0,
    frames=4,
    events=10,
    merged=3,
    counts={"portFound": 7, "scanProgress": 3},
    best_effort=False,
)
FAILED = msgspec.structs.replace(
    RUNNING, channel="scan/a", status="failed", started_ms=1_700_000_000_000, elapsed_s=1.0, frames=1
)
COMPLETED = msgspec.structs.replace(RUNNING, channel="scan/c", status="completed", elapsed_s=6.0)
REPORT = msgspec.structs.replace(RUNNING, channel="report/r")
ALL = [RUNNING, FAILED, REPORT, COMPLETED]

HEROFORGE = [
    "total_scans",
    "running_scans",
    "completed_scans",
    "total_messages",
    "average_elapsed_time",
    "scans",
]


def test_heroforges_fields_come_first_and_by_their_names() -> None:
    statistics = json.loads(json.dumps(scan_statistics(ALL, complete=True)))
    assert list(statistics)[: len(HEROFORGE)] == HEROFORGE
    assert list(statistics["scans"][0]) == ["scan_id", "message_count", "elapsed_time", "is_completed"]


def test_statistics_are_of_scans_and_not_of_reports() -> None:
    assert scan_statistics(ALL, complete=True) == {
        "total_scans": 3,
        "running_scans": 1,
        "completed_scans": 2,
        "total_messages": 9,
        "average_elapsed_time": 3.0,
        "scans": [
            {"scan_id": "b", "message_count": 4, "elapsed_time": 2.0, "is_completed": False},
            {"scan_id": "a", "message_count": 1, "elapsed_time": 1.0, "is_completed": True},
            {"scan_id": "c", "message_count": 4, "elapsed_time": 6.0, "is_completed": True},
        ],
        "total_events": 30,
        "total_merged": 9,
        "complete": True,
    }


def test_no_scan_at_all() -> None:
    empty = scan_statistics([REPORT], complete=False)
    assert (empty["total_scans"], empty["average_elapsed_time"], empty["scans"]) == (0, 0.0, [])
    assert empty["complete"] is False
    assert scan_list([], complete=True) == {"scans": [], "complete": True}


def test_the_list_is_in_the_order_the_scans_started() -> None:
    scans = scan_list([COMPLETED, RUNNING, FAILED, REPORT], complete=True)["scans"]
    assert isinstance(scans, list)
    assert [scan["scan_id"] for scan in scans] == ["a", "b", "c"]


def test_an_entry() -> None:
    assert scan_entry(RUNNING) == {
        "scan_id": "b",
        "kind": "scan",
        "status": "running",
        "phase": "ports",
        "progress": 12.5,
        "started_at": "2023-11-14T22:13:21.500Z",
        "elapsed_time": 2.0,
        "message_count": 4,
        "event_count": 10,
        "merged_count": 3,
        "epoch": 1_700_000_001_500,
        "seq": 9,
        "counts": {"portFound": 7, "scanProgress": 3},
        "best_effort": False,
    }
    assert scan_entry(REPORT)["kind"] == "report"


def test_events_that_are_damaged_are_told_and_gone_on_behind() -> None:
    header = PageHeader(1, "scan/a", 7, 4, 3, 9, True, 7, damaged=6)
    assert json.loads(rest_events("a", Page(header, b"[]"), None, 10)) == {
        "scan_id": "a",
        "epoch": 7,
        "seq": None,
        "head": 9,
        "next": "7:6",
        "resumed": None,
        "complete": False,
        "damaged": [4, 6],
        "events": [],
    }
