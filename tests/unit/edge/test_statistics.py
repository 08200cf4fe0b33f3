"""`GET /api/scans/stats` in HeroForge's shape, and our lists."""

from __future__ import annotations

import json

import msgspec
import pytest

from pipeline.edge.statistics import (
    read_number,
    rest_document,
    rest_events,
    scan_entry,
    scan_list,
    scan_statistics,
)
from pipeline.wire import (
    ChannelSummary,
    Document,
    HostsHeader,
    Page,
    PageHeader,
    StateHeader,
    TimeLeftEntry,
    TotalsEntry,
)

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
    finalising=True,
    time_left=TimeLeftEntry("scan", 20.0, 18.0, 30.0),
    events_per_s=4.5,
    event_bytes=1_000,
    delivered=6,
    totals=TotalsEntry(2, 3, 4, {"High": 5, "Info": 1}),
    name="n",
    targets=("10.0.0.0/24",),
    labels={"site": "x"},
    owner="o",
    last_event_ms=1_700_000_003_000,
)
FAILED = msgspec.structs.replace(
    RUNNING, channel="scan/a", status="failed", started_ms=1_700_000_000_000, elapsed_s=1.0, frames=1
)
STALLED = msgspec.structs.replace(RUNNING, channel="scan/d", status="stalled")
ORPHANED = msgspec.structs.replace(RUNNING, channel="scan/e", status="orphaned")
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
        "total_delivered": 18,
        "total_bytes": 3_000,
        "total_hosts": 6,
        "total_open_ports": 9,
        "total_services": 12,
        "total_vulnerabilities": {"Critical": 0, "High": 15, "Medium": 0, "Low": 0, "Info": 3},
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
        "finalising": True,
        "time_left": {"of": "scan", "seconds": 20.0, "low": 18.0, "high": 30.0},
        "events_per_s": 4.5,
        "event_bytes": 1_000,
        "delivered_count": 6,
        "totals": msgspec.to_builtins(RUNNING.totals),
        "name": "n",
        "targets": ["10.0.0.0/24"],
        "labels": {"site": "x"},
        "owner": "o",
        "error": None,
        "last_event_at": "2023-11-14T22:13:23.000Z",
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


def test_what_is_stalled_has_not_ended() -> None:
    found = scan_statistics([STALLED, ORPHANED, COMPLETED], complete=True)
    assert (found["running_scans"], found["completed_scans"]) == (2, 1)


def test_a_state_is_given_with_its_place() -> None:
    document = Document(StateHeader(1, "scan/a", 7, 9, True), b'{"status":"running"}')
    assert json.loads(rest_document("a", document)) == {
        "scan_id": "a",
        "epoch": 7,
        "seq": 9,
        "kind": "scan",
        "cleaned_up": True,
        "status": "running",
    }


def test_hosts_are_given_with_what_follows() -> None:
    document = Document(HostsHeader(1, "scan/a", 7, 9, 2, 5, 1), b'[{"ip":"a"},{"ip":"b"}]')
    assert json.loads(rest_document("a", document)) == {
        "scan_id": "a",
        "epoch": 7,
        "seq": 9,
        "total": 5,
        "left_out": 1,
        "next": 2,
        "hosts": [{"ip": "a"}, {"ip": "b"}],
    }


@pytest.mark.parametrize(("text", "number"), [(None, 3), ("0", 0), ("7", 7), ("007", 7)])
def test_a_number_is_read(text: str | None, number: int) -> None:
    assert read_number("after", text, 3, 0, 7) == number


@pytest.mark.parametrize("text", ["", "-1", "8", "1.0", "1e1", " 1", "x", "\u0661", "1" * 10])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"after=.*from 0 to 7"):
        read_number("after", text, 3, 0, 7)
