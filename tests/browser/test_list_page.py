"""The list of scans, in a real Chromium, before the real pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from pipeline import Emitter
from tests.browser.plain_proxy import PlainProxy
from tests.browser.test_hostile import AWKWARD, MARKUP
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import events_of, kill
from tests.harness import PATIENCE, Pipeline

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


def test_where_websockets_are_refused_the_list_follows_all_the_same(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with PlainProxy(pipeline.port) as proxy, Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.url = proxy.url
        dashboard.open_list()
        expect(dashboard.get("empty")).to_be_visible()
        assert proxy.refused >= 2
        emitter.emit({"type": "scanProgress", "phase": "port_scan", "progress": 42})
        _expect_row(dashboard, "demo", status="running", progress=42)
        kill(pipeline, "edge-0")
        expect(dashboard.page.locator("main").get_by_text("The edge does not answer.")).to_be_visible()
        emitter.emit({"type": "scanCompleted"})
        pipeline.start_edge()
        _expect_row(dashboard, "demo", status="completed", progress=100)
        dashboard.page.goto("about:blank")
    # A browser tells of every connection that fails, whatever a page does about it.
    dashboard.problems.clear()


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


def test_searched_and_sorted_and_the_address_says_so(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        about = {
            "name": "Head office",
            "targets": ["10.1.0.0/16"],
            "labels": {"site": "Berlin"},
            "owner": "alice",
        }
        emitter.emit({"type": "scanStarted", "owner": "alice", **about}, scan_id="b-office")
        emitter.emit({"type": "scanStarted"}, scan_id="a-lab")
        emitter.emit({"type": "scanProgress", "phase": "p", "progress": 60}, scan_id="a-lab")
        emitter.emit({"type": "scanStarted"}, scan_id="c-guests")
        emitter.emit({"type": "scanCompleted"}, scan_id="c-guests")
        emitter.flush(20 * PATIENCE)

        dashboard = open_page()
        dashboard.open_list()
        expect(dashboard.get("scan-row")).to_have_count(3)
        dashboard.get("sort").select_option("name")
        assert _ids(dashboard) == ["a-lab", "c-guests", "b-office"]
        dashboard.get("sort").select_option("progress")
        assert _ids(dashboard) == ["a-lab", "b-office", "c-guests"]
        for needle in ("HEAD OFF", "10.1.0", "site=berlin", "alice b-office"):
            dashboard.get("search").fill(needle)
            expect(dashboard.get("scan-row")).to_have_count(1)
            assert _ids(dashboard) == ["b-office"]
        expect(dashboard.get("status-running")).to_have_text("running1")
        assert dashboard.page.url.endswith("/#/?q=alice+b-office&sort=progress")
        dashboard.get("status-completed").click()
        expect(dashboard.get("nothing-found")).to_be_visible()
        dashboard.get("search").press("Escape")
        assert _ids(dashboard) == ["c-guests"]
        assert dashboard.page.url.endswith("/#/?status=completed&sort=progress")

        other = open_page()
        other.page.goto(f"{pipeline.url}/#/?q=office&status=running&sort=rate")
        expect(other.get("scan-row")).to_have_count(1)
        expect(other.get("search")).to_have_value("office")
        expect(other.get("status-running")).to_have_attribute("aria-pressed", "true")
        expect(other.get("sort")).to_have_value("rate")
        _row(other, "b-office").get_by_role("link").click()
        other.expect_status("running")
        other.page.go_back()
        expect(other.get("search")).to_have_value("office")
        expect(other.get("scan-row")).to_have_count(1)


def test_the_totals_are_those_of_the_scans_shown(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for scan_id, hosts in (("one", 2), ("two", 3)):
            emitter.emit({"type": "scanStarted"}, scan_id=scan_id)
            for number in range(hosts):
                emitter.emit({"type": "hostDiscovered", "ip": f"10.0.0.{number}"}, scan_id=scan_id)
        found = {"type": "vulnerabilityFound", "ip": "10.0.0.1", "severity": "Critical", "title": "x"}
        emitter.emit(found, scan_id="two")
        dashboard = open_page()
        dashboard.open_list()
        expect(dashboard.get("total-hosts")).to_have_text("5")
        expect(dashboard.get("total-vulns")).to_have_text("1")
        expect(dashboard.get("totals")).to_contain_text("1 critical")
        dashboard.get("search").fill("one")
        expect(dashboard.get("total-scans")).to_have_text("1")
        expect(dashboard.get("total-hosts")).to_have_text("2")
        expect(dashboard.get("total-vulns")).to_have_text("0")


def test_a_rate_falls_without_another_event(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_list()
    with Emitter("burst", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        for number in range(200):
            emitter.emit({"type": "hostDiscovered", "ip": f"10.0.0.{number}"})
        rate = _row(dashboard, "burst").locator(".scan-rate")
        expect(rate).to_have_text(re.compile(r"^[1-9][0-9.]*/s$"))
        falls = "before => parseFloat(document.querySelector('.scans .scan-rate').textContent) < before / 2"
        dashboard.page.wait_for_function(falls, arg=float(rate.inner_text()[:-2]))


def test_scans_that_stall_or_are_orphaned_come_first_and_say_so(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start(config={"throttle-batch": "[watchdog]\nstalled_after_s = 0.5\n"})
    dashboard = open_page()
    dashboard.open_list()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"}, scan_id="quiet")
        emitter.emit({"type": "scanStarted"}, scan_id="ended")
        emitter.emit({"type": "scanCompleted"}, scan_id="ended")
        row = _row(dashboard, "quiet")
        expect(row.get_by_test_id("status")).to_have_text("stalled")
        expect(row.get_by_test_id("time-left")).to_have_text("no events come")
        expect(dashboard.get("summary")).to_contain_text("1 stalled")
        emitter.emit({"type": "scanOrphaned"}, scan_id="ended")
        assert _ids(dashboard)[0] == "quiet"


def test_ten_thousand_scans_are_a_list_of_which_only_what_is_seen_exists(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_list()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for number in range(10_000):
            emitter.emit({"type": "scanStarted", "name": f"Scan {number}"}, scan_id=f"scan-{number:05}")
        emitter.flush(60 * PATIENCE)
        expect(dashboard.get("total-scans")).to_have_text("10,000")
        dashboard.get("sort").select_option("name")
        assert dashboard.get("scan-row").count() < 40
        dashboard.get("scan-row").first.get_by_role("link").focus()
        dashboard.page.keyboard.press("End")
        last = dashboard.page.evaluate("document.activeElement.closest('li').getAttribute('aria-posinset')")
        assert last == "10000"
        expect(dashboard.page.locator("li:has(a:focus)")).to_be_in_viewport()
        dashboard.page.keyboard.press("Home")
        expect(_row(dashboard, "scan-00000").get_by_role("link")).to_be_focused()
        dashboard.get("search").fill("scan-07777")
        expect(dashboard.get("scan-row")).to_have_count(1)
        emitter.emit({"type": "scanCompleted"}, scan_id="scan-07777")
        _expect_row(dashboard, "scan-07777", status="completed", progress=100)
    # While ten thousand scans begin at once a worker may be busy for longer than a beacon may take.
    dashboard.problems[:] = [problem for problem in dashboard.problems if "503" not in problem]


def test_what_a_scan_says_of_itself_is_text_in_the_list(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_list()
    hostile = AWKWARD + MARKUP
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for number, text in enumerate(hostile):
            about = {"name": text, "targets": [text], "labels": {text or "x": text}, "owner": text}
            emitter.emit({"type": "scanStarted", **about}, scan_id=f"scan-{number}")
            emitter.emit({"type": "phaseStarted", "phase": text or "x"}, scan_id=f"scan-{number}")
            emitter.emit({"type": "error", "message": text}, scan_id=f"scan-{number}")
        expect(dashboard.get("status-failed")).to_have_text(f"failed{len(hostile)}")
        for number, text in enumerate(hostile):
            dashboard.get("search").fill(f"scan-{number}")
            row = _row(dashboard, f"scan-{number}")
            expect(row.get_by_test_id("status")).to_have_text("failed")
            if text in MARKUP:
                expect(row.get_by_test_id("name")).to_have_text(text)
                expect(row.get_by_test_id("time-left")).to_have_text(text)
        dashboard.get("search").fill(MARKUP[0])
        expect(_row(dashboard, f"scan-{hostile.index(MARKUP[0])}")).to_be_visible()
    assert dashboard.page.locator("#main :is(script, iframe, img)").count() == 0


def test_the_keyboard_goes_everywhere(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for scan_id in ("a", "b", "c"):
            emitter.emit({"type": "scanStarted"}, scan_id=scan_id)
        dashboard = open_page()
        dashboard.open_list()
        expect(dashboard.get("scan-row")).to_have_count(3)
        dashboard.get("sort").select_option("name")
        dashboard.page.locator("h1").click()
        keyboard = dashboard.page.keyboard
        keyboard.press("/")
        expect(dashboard.get("search")).to_be_focused()
        seen = []
        for _ in range(8):  # the statuses, the order, the list: one stop for all of it
            keyboard.press("Tab")
            seen.append(dashboard.page.evaluate("document.activeElement.textContent"))
        assert seen[-1] == "a"
        keyboard.press("ArrowDown")
        expect(_row(dashboard, "b").get_by_role("link")).to_be_focused()
        outline = dashboard.page.locator("li:has(a:focus)").evaluate(
            "row => getComputedStyle(row).outlineStyle"
        )
        assert outline == "solid"
        keyboard.press("End")
        keyboard.press("Enter")
        expect(dashboard.page.locator("h1")).to_have_text("c")
        tabs = dashboard.page.get_by_role("navigation", name="Views").get_by_role("link")
        expect(tabs.get_by_text("Scans")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("width", [390, 720, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_unreadable(
    pipeline: Pipeline, open_page: OpenPage, width: int, scheme: str
) -> None:
    pipeline.start()
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted", "name": "n" * 200}, scan_id="x" * 64)
        emitter.emit({"type": "scanProgress", "phase": "p" * 80, "progress": 5}, scan_id="x" * 64)
        dashboard = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        dashboard.open_list()
        expect(dashboard.get("scan-row")).to_have_count(1)
        assert dashboard.page.evaluate("document.documentElement.scrollWidth") <= width
        ground = dashboard.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) == (scheme == "dark")


def _ids(dashboard: Dashboard) -> list[str | None]:
    return [row.get_attribute("data-scan-id") for row in dashboard.get("scan-row").all()]


def _row(dashboard: Dashboard, scan_id: str) -> Locator:
    return dashboard.page.locator(f"[data-testid=scan-row][data-scan-id={scan_id}]")


def _expect_row(dashboard: Dashboard, scan_id: str, *, status: str, progress: int | None) -> None:
    row = _row(dashboard, scan_id)
    expect(row.get_by_test_id("status")).to_have_text(status)
    expect(row).to_contain_text("\u2013" if progress is None else f"{progress} %")
    if progress is not None:
        expect(row.get_by_test_id("progress")).to_have_attribute("aria-valuenow", str(progress))
