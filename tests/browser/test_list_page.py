"""The list of scans, in a real Chromium, before the real pipeline."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from pipeline import Emitter
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import events_of, kill
from tests.harness import Pipeline

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system


def test_several_scans_with_their_status_and_progress(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start(workers=2)
    dashboard = open_page()
    dashboard.open_list()
    expect(dashboard.get("empty")).to_be_visible()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for event in events_of(1, "done"):
            emitter.emit(event, scan_id="done")
        emitter.emit({"type": "scanStarted"}, scan_id="broken")
        emitter.emit({"type": "error", "message": "out of memory"}, scan_id="broken")
        emitter.emit({"type": "scanStarted"}, scan_id="running")
        emitter.emit({"type": "phaseStarted", "phase": "port_scan", "progress": 20}, scan_id="running")
        emitter.emit({"type": "scanProgress", "phase": "port_scan", "progress": 42}, scan_id="running")
        report = {"type": "reportStarted", "report_id": "r", "name": "Office", "format": "pdf"}
        emitter.emit(report, report_id="r")

        expect(dashboard.get("scan-row")).to_have_count(3)
        _expect_row(dashboard, "done", status="completed", progress=100)
        _expect_row(dashboard, "broken", status="failed", progress=None)
        _expect_row(dashboard, "running", status="running", progress=42)
        expect(_row(dashboard, "running").get_by_test_id("phase")).to_have_text("port scan")
        expect(dashboard.get("summary")).to_contain_text("1 running · 1 completed · 1 failed")

        emitter.emit({"type": "scanProgress", "phase": "port_scan", "progress": 77}, scan_id="running")
        _expect_row(dashboard, "running", status="running", progress=77)
        emitter.emit({"type": "scanCompleted"}, scan_id="running")
        _expect_row(dashboard, "running", status="completed", progress=100)

        found = _row(dashboard, "done").get_by_test_id("found")
        expect(found).to_have_text("256 hosts · 3,600 open ports · 1,022 vulnerabilities")
        _row(dashboard, "done").get_by_role("link").click()
        dashboard.expect_status("completed")
        dashboard.expect_seq(15_000)
        for testid, number in [("hosts-count", 256), ("ports-count", 3_600), ("vulns-count", 1_022)]:
            assert dashboard.number(testid) == number
        dashboard.page.go_back()
        expect(dashboard.get("scan-row")).to_have_count(3)


def test_edge_gone_it_says_so_and_goes_on_when_it_is_back(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_list()
    expect(dashboard.get("health")).to_have_attribute("data-state", "ready")
    with Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        expect(dashboard.get("scan-row")).to_have_count(1)
        kill(pipeline, "edge-0")
        banner = dashboard.page.locator("#main").get_by_text("The edge does not answer.")
        expect(banner).to_be_visible()
        expect(dashboard.get("scan-row")).to_have_count(1)
        pipeline.start_edge()
        emitter.emit({"type": "scanCompleted"})
        _expect_row(dashboard, "office", status="completed", progress=100)
        expect(banner).to_be_hidden()
    assert all("ERR_CONNECTION" in problem for problem in dashboard.problems)
    dashboard.problems.clear()


def _row(dashboard: Dashboard, scan_id: str) -> Locator:
    return dashboard.page.locator(f"[data-testid=scan-row][data-scan-id={scan_id}]")


def _expect_row(dashboard: Dashboard, scan_id: str, *, status: str, progress: int | None) -> None:
    row = _row(dashboard, scan_id)
    expect(row.get_by_test_id("status")).to_have_text(status)
    expect(row).to_contain_text("\u2013" if progress is None else f"{progress} %")
    if progress is not None:
        expect(row.get_by_test_id("progress")).to_have_attribute("aria-valuenow", str(progress))
