"""The page of one scan comes right again: after kills, a new life of the scan, being slow, being hidden."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.browser.stalling_proxy import StallingProxy
from tests.browser.test_client import HIDING
from tests.e2e.browsing import WAIT_MS, Dashboard
from tests.faults.crashing import events_of, kill, restart, stopped
from tests.harness import PATIENCE, Pipeline, deadline

SCAN = "office"
OpenPage = Callable[..., Dashboard]
QUICK_REST = (
    "window.setTimeout = ((later) => (step, ms) => later(step, ms === 5000 ? 200 : ms))(window.setTimeout);"
)
"""A hidden page rests after a fifth of a second rather than after five."""

pytestmark = pytest.mark.system


def shown(dashboard: Dashboard) -> dict[str, object]:
    """Return what a page shows of a scan: its figures, the hosts in sight, the findings drawn."""
    return {
        "figures": dashboard.figures(),
        "hosts": dashboard.get("host-row").all_inner_texts(),
        "findings": dashboard.get("finding-row").all_inner_texts(),
    }


def expect_as_fresh(dashboard: Dashboard, open_page: OpenPage, seq: int) -> None:
    """Check that a page shows what one shows that is opened now."""
    dashboard.expect_seq(seq)
    fresh = open_page()
    fresh.open_scan(SCAN)
    fresh.expect_seq(seq)
    assert shown(dashboard) == shown(fresh)


def _pace(pipeline: Pipeline) -> int:
    """Return the pace of the one page that is open."""
    _, answer = pipeline.get("/api/connections")
    (pace,) = [connection["pace"] for connection in answer["connections"] if connection["scans"] == [SCAN]]
    return int(pace)


def test_edge_and_worker_killed_it_comes_right_again(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    sent = events_of(3, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        for event in sent[:5_000]:
            emitter.emit(event)
        dashboard.expect_seq(5_000)
        kill(pipeline, "edge-0")
        restart(pipeline, "throttle-batch-0")
        pipeline.start_edge()
        for event in sent[5_000:]:
            emitter.emit(event)
        dashboard.expect_status("completed")
        expect_as_fresh(dashboard, open_page, len(sent))
    # A browser tells of every connection that fails, whatever a page does about it.
    dashboard.problems.clear()


def test_a_scan_started_again_begins_anew(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    sent = events_of(4, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        for event in sent:
            emitter.emit(event)
        dashboard.expect_status("completed")
        for event in sent[:2_000]:
            last = emitter.emit(event)
        dashboard.expect_status("running")
        assert last == len(sent) + 2_000
        expect(dashboard.get("notices")).to_contain_text("the scan was started again")
        expect_as_fresh(dashboard, open_page, 2_000)


def test_a_silent_worker_is_told_and_no_longer_when_it_answers(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        emitter.flush(30 * PATIENCE)
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_seq(1)
        expect(dashboard.get("degraded")).to_be_hidden()
        with stopped(pipeline, "throttle-batch-0"):
            expect(dashboard.get("degraded")).to_be_visible()
            expect(dashboard.get("connection-state")).to_have_text("live, degraded")
        expect(dashboard.get("degraded")).to_be_hidden()
        emitter.emit({"type": "scanCompleted"})
        dashboard.expect_status("completed")


def test_a_page_that_is_too_slow_is_told_what_it_missed_and_is_right_again(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    limits = "[limits]\nmax_lag_s = 0.5\nkernel_buffer_bytes = 16384\n"
    pipeline.start(config={"edge": f"{limits}[compression]\nenabled = false\n"})
    sent = events_of(5, SCAN)
    pause = threading.Event()
    with StallingProxy(pipeline.port) as proxy, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.url = proxy.url
        dashboard.open_scan(SCAN)
        for event in sent[:2_000]:
            emitter.emit(event)
        dashboard.expect_seq(2_000)
        proxy.stall()
        end, given = deadline(30), 2_000
        while _pace(pipeline) > 1:
            assert time.monotonic() < end
            for event in sent[given : given + 500]:
                emitter.emit(event)
            given = min(given + 500, 12_000)
            pause.wait(0.1)
        for event in sent[given:12_000]:
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        pause.wait(1.0)  # as long as what waits has to be old
        proxy.go_on()
        expect(dashboard.get("missed")).to_contain_text(
            re.compile("While this page was behind: .* services new")
        )
        for event in sent[12_000:]:
            emitter.emit(event)
        dashboard.expect_status("completed")
        expect_as_fresh(dashboard, open_page, len(sent))
        expect(dashboard.get("notices")).to_contain_text("this page was too slow")
        assert dashboard.ledger()["missed"] > 0
        dashboard.page.goto("about:blank")


def test_a_hidden_tab_closes_its_stream_and_comes_back_with_a_snapshot(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    sent = events_of(6, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        page = dashboard.page
        page.add_init_script(HIDING)
        page.add_init_script(QUICK_REST)
        dashboard.open_scan(SCAN)
        for event in sent[:7_000]:
            emitter.emit(event)
        dashboard.expect_seq(7_000)
        page.evaluate("() => setHidden(true)")
        page.wait_for_function(f"() => document.title === '{SCAN} · scanstream'", polling=50, timeout=WAIT_MS)
        for event in sent[7_000:14_000]:
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        assert pipeline.get("/api/connections")[1]["total"] == 0, "nothing is sent to a hidden page"
        page.evaluate("() => setHidden(false)")
        dashboard.expect_seq(14_000)
        assert dashboard.number("snapshot-total") == 14_000
        missed = dashboard.get("missed")
        expect(missed).to_contain_text(
            re.compile(r"While this page was hidden.*vulnerabilities new \(\d+ Critical")
        )
        missed.get_by_role("button", name="Dismiss").click()
        expect(missed).to_be_hidden()
        expect(page.locator("[data-testid=finding-row][data-missed]").first).to_be_visible()
        for event in sent[14_000:]:
            emitter.emit(event)
        dashboard.expect_status("completed")
        expect_as_fresh(dashboard, open_page, len(sent))


def test_hosts_beyond_the_snapshot_come_in_pages(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start(config={"throttle-batch": "[state]\nmax_hosts = 3000\n"})
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for number in range(3_200):
            ip = f"10.0.{number // 250}.{number % 250}"
            emitter.emit({"type": "portFound", "ip": ip, "port": 443, "protocol": "TCP", "state": "Open"})
        emitter.flush(30 * PATIENCE)
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        expect(dashboard.get("hosts-shown")).to_have_text("3,000, 200 counted but not listed")
        assert (dashboard.number("hosts-count"), dashboard.number("ports-count")) == (3_200, 3_200)
        dashboard.page.get_by_label("Filter hosts").fill("10.0.11.7")
        expect(dashboard.get("host-row").first).to_contain_text("10.0.11.7")
