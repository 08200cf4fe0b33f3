"""Past scans and their comparison, in a real Chromium, before the real pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.browsing import Dashboard
from tests.e2e.test_past_scans import END, LATER, SOON, past, scan_events, send, wait_past
from tests.harness import Pipeline

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system

PHONE = {"viewport": {"width": 390, "height": 844}}
ABOUT = {"targets": ["10.0.0.0/30"], "labels": {"site": "<img src=x onerror=alert(1)>"}}


@pytest.fixture
def filled(pipeline: Pipeline) -> Pipeline:
    """Give a pipeline with two scans of the same targets, both past."""
    pipeline.start(config=SOON)
    send(pipeline, "weekly-1", *scan_events(name="Weekly <b>one</b>", **ABOUT), END)
    wait_past(pipeline, "weekly-1")
    send(pipeline, "weekly-2", *scan_events(name="Weekly two", **ABOUT), *LATER, END)
    wait_past(pipeline, "weekly-2", "weekly-1")
    return pipeline


def row(dashboard: Dashboard, scan_id: str) -> Locator:
    return dashboard.page.locator(f'[data-testid="past-row"][data-scan-id="{scan_id}"]')


@pytest.mark.parametrize("context", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def test_past_scans_are_listed_searched_and_opened(
    filled: Pipeline, open_page: OpenPage, context: dict[str, object]
) -> None:
    dashboard = open_page(**context)
    dashboard.page.goto(f"{filled.url}/#/past")
    expect(dashboard.get("past-row")).to_have_count(2)
    expect(dashboard.get("summary")).to_have_text("2 scans")
    about = row(dashboard, "weekly-1").get_by_test_id("past-about")
    expect(about).to_have_text("Weekly <b>one</b> · 10.0.0.0/30 · site=<img src=x onerror=alert(1)>")
    expect(row(dashboard, "weekly-2").get_by_test_id("past-found")).to_contain_text("3 hosts · 2 open ports")
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert dashboard.page.evaluate(width) == 0, "nothing is wider than the page"
    dashboard.page.get_by_label("Search past scans").fill("WEEKLY-1 10.0.0")
    expect(dashboard.get("past-row")).to_have_count(1)
    expect(dashboard.page).to_have_url(re.compile(r"#/past\?search=WEEKLY-1\+10\.0\.0$"))
    dashboard.page.reload()
    expect(dashboard.get("past-row")).to_have_count(1)
    dashboard.get("past-search").fill("nowhere")
    expect(dashboard.get("past-empty")).to_contain_text("Nothing found")
    dashboard.get("past-search").fill("")
    row(dashboard, "weekly-2").get_by_test_id("past-open").click()
    dashboard.expect_status("completed")
    assert dashboard.figures()["hosts"] == 3
    expect(dashboard.get("actions")).to_be_visible()


def test_more_are_shown_when_asked_for(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start(config=SOON)
    for number in range(55):
        send(pipeline, f"s-{number}", {"type": "scanStarted"}, END)
    dashboard = open_page()
    while len(past(pipeline)) < 55:
        pass
    dashboard.page.goto(f"{pipeline.url}/#/past")
    expect(dashboard.get("past-row")).to_have_count(50)
    expect(dashboard.get("summary")).to_have_text("the latest 50 scans")
    dashboard.get("past-more").click()
    expect(dashboard.get("past-row")).to_have_count(55)
    expect(dashboard.get("past-more")).to_be_hidden()
    assert len({each.get_attribute("data-scan-id") for each in dashboard.get("past-row").all()}) == 55


def test_a_scan_is_deleted_with_the_keyboard_after_a_second_question(
    filled: Pipeline, open_page: OpenPage
) -> None:
    dashboard = open_page()
    dashboard.page.goto(f"{filled.url}/#/past")
    first = row(dashboard, "weekly-2")
    first.get_by_test_id("delete").focus()
    dashboard.page.keyboard.press("Enter")
    expect(first.get_by_test_id("delete-no")).to_be_focused()
    dashboard.page.keyboard.press("Escape")
    expect(first.get_by_test_id("delete")).to_be_focused()
    expect(first.get_by_test_id("delete-yes")).to_be_hidden()
    dashboard.page.keyboard.press("Enter")
    dashboard.page.keyboard.press("Enter")  # the first that comes keeps it
    assert len(past(filled)) == 2
    dashboard.page.keyboard.press("Enter")
    dashboard.page.keyboard.press("Shift+Tab")
    expect(first.get_by_role("button", name="Delete weekly-2 for good")).to_be_focused()
    dashboard.page.keyboard.press("Enter")
    expect(dashboard.get("past-row")).to_have_count(1)
    expect(dashboard.page.get_by_role("status")).to_have_text("weekly-2 is deleted")
    expect(row(dashboard, "weekly-1").get_by_test_id("past-open")).to_be_focused()
    assert [scan["scan_id"] for scan in past(filled)] == ["weekly-1"]


def test_a_running_scan_says_why_it_is_not_deleted(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start(config=SOON)
    send(pipeline, "a", {"type": "scanStarted"})
    dashboard = open_page()
    dashboard.open_scan("a")
    expect(dashboard.get("delete")).to_have_attribute("aria-disabled", "true")
    # Hidden until the page knows the scan: what is pressed before that goes elsewhere.
    expect(dashboard.get("delete")).to_be_visible()
    dashboard.get("delete").press("Enter")
    expect(dashboard.get("actions-problem")).to_contain_text("once it has ended")
    expect(dashboard.get("delete-yes")).to_be_hidden()
    send(pipeline, "a", END)
    dashboard.expect_status("completed")
    dashboard.get("delete").click()
    dashboard.get("delete-yes").click()
    expect(dashboard.page).to_have_url(re.compile("#/past$"))
    assert pipeline.get("/api/scans/a")[0] == 404


def test_a_scan_is_taken_along_in_every_format(filled: Pipeline, open_page: OpenPage, tmp_path: Path) -> None:
    dashboard = open_page()
    dashboard.page.goto(f"{filled.url}/#/past")
    actions = row(dashboard, "weekly-2")
    for form in ("html", "csv", "json", "ndjson"):
        actions.get_by_test_id("export").click()
        with dashboard.page.expect_download() as download:
            actions.get_by_test_id(f"export-{form}").click()
        assert download.value.suggested_filename == f"scan-weekly-2.{form}"
        download.value.save_as(tmp_path / f"scan.{form}")
    assert json.loads((tmp_path / "scan.json").read_bytes())["scan_id"] == "weekly-2"
    report = open_page()
    report.page.goto((tmp_path / "scan.html").as_uri())
    expect(report.page.get_by_role("heading", name="Weekly two")).to_be_visible()
    expect(report.page.locator(".host")).to_have_count(3)
    bar = report.page.locator("svg rect.low")
    assert bar.evaluate("element => getComputedStyle(element).fill") != "rgb(0, 0, 0)", "its style holds"


@pytest.mark.parametrize("context", [{}, PHONE], ids=["wide", "phone"])
def test_two_scans_are_compared(filled: Pipeline, open_page: OpenPage, context: dict[str, object]) -> None:
    dashboard = open_page(**context)
    dashboard.page.goto(f"{filled.url}/#/past")
    row(dashboard, "weekly-2").get_by_test_id("compare").click()
    expect(dashboard.get("compare-host")).to_have_count(2)
    expect(dashboard.get("compare-subject")).to_have_text(re.compile(r"weekly-2 \(.*\) since weekly-1 \("))
    changed = dashboard.get("compare-host").filter(has_text="10.0.0.1")
    expect(changed).to_contain_text("<script>alert(1)</script>·[31m")
    expect(changed).to_contain_text("80/tcp")
    expect(changed).to_contain_text("(was High)")
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert dashboard.page.evaluate(width) == 0
    dashboard.get("show-changed").uncheck()
    expect(dashboard.get("compare-host")).to_have_count(1)
    expect(dashboard.get("compare-host")).to_contain_text("10.0.0.3")


def test_a_scan_without_an_earlier_one_says_so(filled: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    dashboard.page.goto(f"{filled.url}/#/compare/weekly-1")
    expect(dashboard.get("compare-problem")).to_have_text("No earlier scan of the same targets is kept.")
    expect(dashboard.get("compare-subject")).to_have_text("weekly-1")
    dashboard.problems.clear()  # a 404 is told on the console
    other = past(filled)[0]
    dashboard.get("compare-with").select_option(f"weekly-2@{other['epoch']}")
    expect(dashboard.get("compare-host")).to_have_count(2)
    dashboard.page.goto(f"{filled.url}/#/compare/weekly-1/no%20id")
    expect(dashboard.get("not-found")).to_be_visible()
