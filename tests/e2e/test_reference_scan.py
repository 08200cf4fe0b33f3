"""HeroForge's reference scan, in real time, once: 15,000 events at 250 a second, and everybody who watches.

The minute is played by one fixture; each test looks at one reader of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.producer.simulate import EVENTS, heroforge
from tests.e2e.browsing import Dashboard, chromium, chromium_program
from tests.e2e.heroforge import HeroForgeReader
from tests.e2e.native import NativeReader
from tests.e2e.tailing import Tail
from tests.e2e.watching import Watchers
from tests.harness import Pipeline, Process, private_dir

SCAN = "reference"
SEED = 7
MOST_MESSAGES = 650
"""10 frames/s for 60 s, and the critical ones: each of 10 may cut what is pending before it."""
RETURNS_AT = range(2_000, 14_000, 2_000)

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("reference scan")]
"""In one group, so that the scan is played once."""


@dataclass
class Played:
    """What everybody got of the scan."""

    sent: list[bytes]
    emit_code: int
    emit_said: str
    early: NativeReader
    late: NativeReader
    returning: NativeReader
    frontend: HeroForgeReader
    tail_code: int
    tail: dict[int, dict[str, Any]]
    tail_said: str
    page: dict[str, Any] | None
    page_problems: list[str]
    statistics: dict[str, Any]
    counted: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    """Play the scan with everybody watching, side by side."""
    with private_dir() as place, ExitStack() as stack:
        pipeline = Pipeline(place)
        stack.callback(pipeline.close)
        pipeline.start()
        watchers = stack.enter_context(Watchers())
        dashboard = None
        if chromium_program():
            dashboard = Dashboard(stack.enter_context(chromium()).new_page(), pipeline.url)
            dashboard.open_scan(SCAN)
            dashboard.expect_connection("waiting")
        tail = Tail(pipeline, SCAN)
        stack.callback(tail.close)
        early = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        returning = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        frontend = watchers.heroforge(pipeline.ws(f"/api/ws/scans/{SCAN}?token=abc"))
        frontend.wait_for(lambda reader: reader.has("error"))

        emit = Process(
            *("emit", "--simulate", "heroforge", "--seed", str(SEED), "--scan", SCAN),
            *("--run-dir", str(pipeline.run_dir)),
        )
        stack.callback(emit.close)
        late = None
        for seq in RETURNS_AT:
            early.wait_for(lambda reader, seq=seq: reader.seq >= seq, 90)
            returning.disconnect()
            if seq >= EVENTS // 2 and late is None:
                late = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
            returning.connect()
        assert late is not None
        emit_code = emit.wait(60)
        for reader in (early, late, returning):
            reader.wait_for(lambda reader: reader.seq == EVENTS)
        frontend.wait_for(lambda reader: reader.has("scanCompleted"))
        tail.wait_for('"scanCompleted"')
        tail_code = tail.interrupt()
        page = _shown(dashboard) if dashboard is not None else None
        _, statistics = pipeline.get("/api/scans/stats")
        watchers.close()
        yield Played(
            sent=[event for _, event in heroforge(SEED, SCAN)],
            emit_code=emit_code,
            emit_said=emit.errors,
            early=early,
            late=late,
            returning=returning,
            frontend=frontend,
            tail_code=tail_code,
            tail=tail.events(),
            tail_said=tail.errors,
            page=page,
            page_problems=dashboard.problems if dashboard is not None else [],
            statistics=statistics,
            counted=pipeline.stop(),
        )


def _shown(dashboard: Dashboard) -> dict[str, Any]:
    """Return what a page shows that was open all the time, and what it shows after a reload."""
    dashboard.expect_status("completed")
    dashboard.expect_seq(EVENTS)
    live = dashboard.figures()
    ledger = dashboard.ledger()
    dashboard.page.reload()
    dashboard.expect_seq(EVENTS)
    return {"live": live, "ledger": ledger, "reloaded": dashboard.figures()}


def test_everything_sent_was_acked(played: Played) -> None:
    assert played.emit_said == f"sent {EVENTS} events to scan {SCAN}"
    assert played.emit_code == 0
    assert played.counted["ingest-0"]["events"] >= EVENTS


def test_a_reader_gets_every_event_or_is_told_that_it_was_merged(played: Played) -> None:
    played.early.check(played.sent)


def test_a_reader_gets_ten_frames_a_second_and_the_critical_ones(played: Played) -> None:
    hello = 1
    assert played.early.messages == played.early.frames + hello
    assert played.early.messages <= MOST_MESSAGES
    assert played.early.merged > 0


def test_a_late_joiner_gets_the_scan_from_its_start(played: Played) -> None:
    played.late.check(played.sent)
    assert played.late.messages <= MOST_MESSAGES


def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(played: Played) -> None:
    assert [hello.resumed for hello in played.returning.hellos] == [None] + [True] * len(RETURNS_AT)
    played.returning.check(played.sent)


def test_heroforges_frontend_gets_every_event_one_a_message(played: Played) -> None:
    not_found = {"type": "error", "message": "Scan channel not found", "scanId": SCAN}
    assert played.frontend.objects[0] == not_found
    played.frontend.check(played.sent)
    assert played.frontend.messages == 1 + EVENTS - played.early.merged


def test_tail_sees_the_same_frames_as_a_browser(played: Played) -> None:
    (events,) = played.early.events.values()
    assert played.tail == {seq: json.loads(event) for seq, event in events.items()}
    told = [line for line in played.tail_said.splitlines() if not line.startswith("waiting: ")]
    assert told == [f"merged: {played.early.merged} progress reports replaced by later ones"]
    assert played.tail_code == 130


@pytest.mark.system
def test_a_page_shows_all_of_it(played: Played) -> None:
    assert played.page is not None
    found = [json.loads(event) for event in played.sent]
    ports = [event for event in found if event["type"] == "portFound" and event["state"] == "Open"]
    services = {(event["ip"], event["port"]) for event in found if event["type"] == "serviceDetected"}
    assert played.page["live"] == {
        "hosts": len({event["ip"] for event in found if "ip" in event}),
        "ports": len(ports),
        "services": len(services),
        "vulns": sum(event["type"] == "vulnerabilityFound" for event in found),
        "progress": 100,
    }
    assert played.page["reloaded"] == played.page["live"]
    assert played.page_problems == []


@pytest.mark.system
def test_a_pages_ledger_adds_up(played: Played) -> None:
    assert played.page is not None
    ledger = played.page["ledger"]
    assert ledger["events"] + ledger["merged"] == EVENTS
    assert (ledger["filtered"], ledger["missed"]) == (0, 0)
    assert ledger["frames"] <= MOST_MESSAGES


def test_the_statistics_say_the_same(played: Played) -> None:
    scan = next(scan for scan in played.statistics["scans"] if scan["scan_id"] == SCAN)
    assert scan["message_count"] == played.early.frames
    assert scan["is_completed"] is True
    assert played.statistics["total_merged"] == played.early.merged
