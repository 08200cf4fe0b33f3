"""What the pages say and leave out: a narrow header, a scan that is over, one that nobody knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import kill
from tests.harness import PATIENCE, Pipeline

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system

CUT = """() => [...document.querySelectorAll(".topbar .tab")].filter((tab) => {
  const [box, row] = [tab.getBoundingClientRect(), tab.parentElement.getBoundingClientRect()];
  return box.left < row.left - 0.5 || box.right > row.right + 0.5;
}).map((tab) => tab.textContent)"""
"""Returns the views whose names are not whole."""


@pytest.mark.parametrize("width", [360, 390])
def test_a_narrow_header_shows_every_view_whatever_the_pipeline_says(
    pipeline: Pipeline, open_page: OpenPage, width: int
) -> None:
    pipeline.start()
    dashboard = open_page(viewport={"width": width, "height": 740})
    health = dashboard.get("health")
    dashboard.open_list()
    expect(health).to_have_attribute("data-state", "ready")
    expect(health).to_have_text("ready")
    assert dashboard.page.evaluate(CUT) == []
    for killed, state in (("throttle-batch-0", "unready"), ("edge-0", "unknown")):
        kill(pipeline, killed)
        expect(health).to_have_attribute("data-state", state)
        if state == "unready":
            expect(health).to_have_text("not ready: 4 shards silent (0, 1, 2, 3)")
        assert dashboard.page.evaluate(CUT) == []
        assert dashboard.page.evaluate("document.documentElement.scrollWidth") <= width
    dashboard.problems.clear()  # a browser tells of every answer that is none


def test_a_scan_that_is_over_says_so_and_no_longer_waits_for_more(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        report = {"type": "scanProgress", "phase": "port_scan", "progress": 5}
        emitter.emit({**report, "message": "Port scan: 24 of 480 steps"})
        dashboard = open_page()
        dashboard.open_scan("office")
        dashboard.expect_status("running")
        expect(dashboard.get("connection-state")).to_have_text("live")
        expect(dashboard.get("time-left")).to_have_text("time left unknown")
        expect(dashboard.get("no-findings")).to_have_text("Nothing found yet.")
        expect(dashboard.get("phase")).to_have_text("port scan")
        emitter.emit({**report, "progress": 6, "message": "Port scan: 25 of 480 steps"})
        expect(dashboard.get("message")).to_have_text("25 of 480 steps")
        expect(dashboard.get("delete")).to_be_visible()
        dashboard.get("delete").press("Enter")
        expect(dashboard.get("actions-problem")).to_have_text("A scan can be deleted once it has ended.")
        emitter.emit({"type": "scanCompleted"})
        dashboard.expect_status("completed")
    for page in (dashboard, open_page()):
        page.open_scan("office")
        expect(page.get("connection-state")).to_have_text("ended")
        expect(page.get("no-findings")).to_have_text("No findings.")
        expect(page.get("no-hosts")).to_have_text("No hosts.")
        expect(page.get("time-left")).to_contain_text("took ")
        expect(page.get("actions-problem")).to_be_hidden()


def test_a_scan_that_nobody_knows_is_said_to_be_none(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_scan("nowhere")
    expect(dashboard.get("about")).to_contain_text("no scan of this id yet; waiting")
    expect(dashboard.get("actions")).to_be_hidden()
    with Emitter("nowhere", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted", "targets": ["10.0.0.0/30"]})
        expect(dashboard.get("about")).to_have_text("10.0.0.0/30")
        expect(dashboard.get("actions")).to_be_visible()


def test_a_comparison_of_other_targets_says_which(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    for scan_id, targets in (("one", ["10.0.0.0/30"]), ("two", ["10.0.0.0/29", "10.1.0.0/24"])):
        with Emitter(scan_id, run_dir=str(pipeline.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted", "targets": targets})
            emitter.emit({"type": "scanCompleted"})
            emitter.flush(30 * PATIENCE)
    dashboard = open_page()
    dashboard.page.goto(f"{pipeline.url}/#/compare/two/one")
    expect(dashboard.get("compare-problem")).to_have_text(
        "Scope differs: now 10.0.0.0/29, 10.1.0.0/24; before 10.0.0.0/30."
    )
