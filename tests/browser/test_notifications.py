"""Browser notifications: asked for by a click, told of what nobody looks at, each fact once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import WAIT_MS, Dashboard
from tests.harness import PATIENCE, Pipeline

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system

RECORD = """
    window.told = [];
    window.asked = 0;
    const Real = window.Notification;
    window.Notification = class extends Real {
        constructor(title, options) {
            super(title, options);
            window.told.push({ title, ...options, shown: this });
        }
        static requestPermission() { window.asked += 1; return Real.requestPermission(); }
    };
    window.opened = 0;
    window.heard = 0;
    window.WebSocket = class extends WebSocket {
        constructor(url, ...rest) {
            super(url, ...rest);
            if (!String(url).endsWith("/ws/stats")) return;
            window.opened += 1;
            this.addEventListener("message", () => (window.heard += 1), { once: true });
        }
    };
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    window.hide = (value) => { hidden = value; document.dispatchEvent(new Event("visibilitychange")); };
"""
GRANTED = 'Object.defineProperty(window.Notification, "permission", { get: () => "granted" });'
"""Chromium without windows says that they are denied, whatever its context grants."""
FINDING = {"type": "vulnerabilityFound", "ip": "10.0.0.1", "severity": "Critical", "title": "<b>bad</b>"}


@pytest.fixture
def dashboard(pipeline: Pipeline, open_page: OpenPage) -> Dashboard:
    pipeline.start()
    found = open_page(permissions=["notifications"])
    found.page.add_init_script(RECORD + GRANTED)
    return found


def told(dashboard: Dashboard) -> list[tuple[str, str]]:
    found: Any = dashboard.page.evaluate("told.map(({ title, body }) => [title, body])")
    return [(title, body) for title, body in found]


def wait_until_told(dashboard: Dashboard, count: int) -> None:
    dashboard.page.wait_for_function("count => told.length >= count", arg=count, timeout=WAIT_MS)


def turn_on(dashboard: Dashboard) -> None:
    bell = dashboard.page.get_by_role("button", name="Notifications")
    bell.focus()
    dashboard.page.keyboard.press("Enter")
    expect(bell).to_have_attribute("aria-pressed", "true")
    # What is there is no news: it has been told, by all streams of statistics.
    dashboard.page.wait_for_function("opened > 0 && opened === heard", timeout=WAIT_MS)


def test_it_asks_by_a_click_only_and_remembers_the_choice(dashboard: Dashboard) -> None:
    dashboard.open_list()
    bell = dashboard.get("bell")
    expect(bell).to_be_visible()
    expect(bell).to_have_attribute("aria-pressed", "false")
    assert dashboard.page.evaluate("asked") == 0
    turn_on(dashboard)
    assert dashboard.page.evaluate("asked") == 1
    dashboard.page.reload()
    expect(bell).to_have_attribute("aria-pressed", "true")
    assert dashboard.page.evaluate("asked") == 0
    bell.click()
    expect(bell).to_have_attribute("aria-pressed", "false")
    dashboard.page.reload()
    expect(bell).to_have_attribute("aria-pressed", "false")


def test_in_another_view_any_scan_is_told_each_fact_once(pipeline: Pipeline, dashboard: Dashboard) -> None:
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"}, scan_id="before")
        emitter.emit({"type": "scanCompleted"}, scan_id="before")
        emitter.flush(30 * PATIENCE)
        dashboard.page.goto(f"{pipeline.url}/#/pipeline")
        turn_on(dashboard)
        emitter.emit({"type": "scanStarted"}, scan_id="office")
        emitter.emit(FINDING, scan_id="office")
        wait_until_told(dashboard, 1)
        emitter.emit({**FINDING, "title": "second"}, scan_id="office")
        emitter.emit({"type": "scanStarted"}, scan_id="lab")
        emitter.emit({"type": "error", "message": "<img src=x onerror=alert(1)>"}, scan_id="lab")
        wait_until_told(dashboard, 2)
        emitter.emit({"type": "scanCompleted"}, scan_id="office")
        wait_until_told(dashboard, 3)
    assert told(dashboard) == [
        ("Scan office has its first critical finding", "1 host · 1 critical finding"),
        ("Scan lab has failed", "<img src=x onerror=alert(1)>"),
        ("Scan office is completed", "1 host · 2 critical findings"),
    ]
    dashboard.page.evaluate("told[0].shown.onclick()")
    expect(dashboard.get("status")).to_have_text("completed")
    assert dashboard.page.evaluate("location.hash") == "#/scan/office"


def test_the_page_of_a_scan_tells_of_that_scan_while_it_is_hidden(
    pipeline: Pipeline, dashboard: Dashboard
) -> None:
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for scan_id in ("office", "lab"):
            emitter.emit({"type": "scanStarted"}, scan_id=scan_id)
        emitter.flush(30 * PATIENCE)
        dashboard.open_scan("office")
        dashboard.expect_status("running")
        turn_on(dashboard)
        dashboard.page.evaluate("hide(true)")
        emitter.emit({"type": "scanCompleted"}, scan_id="lab")
        emitter.emit({"type": "scanCompleted"}, scan_id="office")
        wait_until_told(dashboard, 1)
    assert [title for title, _ in told(dashboard)] == ["Scan office is completed"]


def test_a_page_that_may_not_says_so(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page(permissions=[])
    dashboard.page.add_init_script(RECORD.replace("return Real.requestPermission()", 'return "denied"'))
    dashboard.open_list()
    dashboard.get("bell").click()
    expect(dashboard.page.locator("#announcer")).to_contain_text("does not allow notifications")
    expect(dashboard.get("bell")).to_have_attribute("aria-pressed", "false")
