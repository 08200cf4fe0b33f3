"""The page of one scan, in a real Chromium, before the real pipeline."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import events_of, kill, restart
from tests.harness import PATIENCE, Pipeline

SCAN = "office"
OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system


def test_opened_before_the_scan_it_waits_and_then_shows_it(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_scan(SCAN)
    dashboard.expect_connection("waiting")
    dashboard.expect_status("waiting")
    expect(dashboard.get("phase")).to_have_text("not started")
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for event in (
            {"type": "scanStarted"},
            {"type": "phaseStarted", "phase": "port_scan", "progress": 20},
            {"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": "mail.example.test"},
            {"type": "portFound", "ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"},
            {"type": "serviceDetected", "ip": "10.0.0.5", "port": 443, "service_name": "https"},
            {"type": "scanProgress", "phase": "port_scan", "progress": 31.5, "message": "half-way"},
        ):
            emitter.emit(event)
        dashboard.expect_connection("live")
        dashboard.expect_status("running")
        expect(dashboard.get("phase")).to_have_text("port scan")
        expect(dashboard.get("message")).to_have_text("half-way")
        expect(dashboard.get("progress")).to_have_attribute("aria-valuenow", "31")
        row = dashboard.get("host-row")
        expect(row).to_contain_text("10.0.0.5")
        expect(row).to_contain_text("mail.example.test")
        expect(row.get_by_test_id("port-chip")).to_have_attribute("data-port", "443")
        expect(row.get_by_test_id("service-name")).to_have_text("https")
        # What the scanner says it took is not what it took.
        emitter.emit({"type": "scanCompleted", "duration": 7_261, "total_hosts": 1})
        dashboard.expect_status("completed")
        expect(dashboard.get("progress")).to_have_attribute("aria-valuenow", "100")
        _, state = pipeline.get(f"/api/scans/{SCAN}")
        assert state["elapsed_time"] < 7_000
        expect(dashboard.get("elapsed")).to_have_text(f"0:{int(state['elapsed_time']):02}")


def test_reloaded_in_the_middle_it_shows_the_same_and_goes_on(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    sent = events_of(1, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_connection("waiting")
        for event in sent[:7_000]:
            emitter.emit(event)
        dashboard.expect_seq(7_000)
        before = _shown(dashboard)
        dashboard.page.reload()
        dashboard.expect_seq(7_000)
        assert _shown(dashboard) == before
        assert dashboard.number("snapshot-total") == 7_000
        for event in sent[7_000:]:
            emitter.emit(event)
        dashboard.expect_seq(len(sent))
        other = open_page()
        other.open_scan(SCAN)
        other.expect_seq(len(sent))
        assert _shown(dashboard) == _shown(other)
        for page in (dashboard, other):
            _check_ledger(page, len(sent))


def test_edge_killed_it_comes_back_by_itself_and_misses_nothing(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    sent = events_of(2, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        for event in sent[:5_000]:
            emitter.emit(event)
        dashboard.expect_seq(5_000)
        kill(pipeline, "edge-0")
        dashboard.expect_connection("reconnecting")
        for event in sent[5_000:]:
            emitter.emit(event)
        pipeline.start_edge()
        dashboard.expect_connection("live")
        dashboard.expect_seq(len(sent))
        dashboard.expect_status("completed")
        _check_ledger(dashboard, len(sent))
        untouched = open_page()
        untouched.open_scan(SCAN)
        untouched.expect_seq(len(sent))
        assert _shown(dashboard) == _shown(untouched)
    # A browser tells of every connection that fails, whatever a page does about it.
    assert all("ERR_CONNECTION" in problem for problem in dashboard.problems)
    dashboard.problems.clear()


def test_worker_killed_it_misses_nothing(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    sent = events_of(3, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        for event in sent[:5_000]:
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        dashboard.expect_seq(5_000)
        restart(pipeline, "throttle-batch-0")
        for event in sent[5_000:]:
            emitter.emit(event)
        dashboard.expect_seq(len(sent))
        dashboard.expect_status("completed")
        assert dashboard.ledger()["missed"] == 0
    # The page may have asked for the pipeline's health meanwhile, and Chromium notes the answer.
    assert all("503" in problem for problem in dashboard.problems)
    dashboard.problems.clear()


def test_failed_scan_says_why(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_status("running")
        emitter.emit({"type": "error", "message": "one probe failed", "fatal": False})
        expect(dashboard.get("notices")).to_contain_text("one probe failed")
        emitter.emit({"type": "error", "message": "out of memory"})
        dashboard.expect_status("failed")
        expect(dashboard.get("message")).to_have_text("out of memory")


def _shown(dashboard: Dashboard) -> dict[str, object]:
    """Return what a page shows of a scan: its figures, the hosts in sight, every finding it lists."""
    return {
        "figures": dashboard.figures(),
        "hosts": dashboard.get("host-row").all_inner_texts(),
        "findings": dashboard.get("finding-row").all_inner_texts(),
    }


def _check_ledger(dashboard: Dashboard, seq: int) -> None:
    """Check that a page has got every event up to this one, or was told that it was merged."""
    ledger = dashboard.ledger()
    assert dashboard.number("snapshot-total") + ledger["events"] + ledger["merged"] == seq
    assert ledger["missed"] == 0
