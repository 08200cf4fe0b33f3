"""100 hostile texts in every text of every event type: on every page, and in exports, they are text."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline import Emitter
from tests.browser.payloads import PAYLOADS, events_with, shown
from tests.e2e.browsing import Dashboard
from tests.harness import PATIENCE, Pipeline, deadline

OpenPage = Callable[..., Dashboard]
CLEANUP = {"throttle-batch": "[cleanup]\ncleanup_after_s = 0.1\n"}
INTRUDERS = """() => {
  const foreign = "iframe, object, embed, video, audio, base, math, template, marquee, form, [srcdoc]";
  const found = [...document.querySelectorAll(`${foreign}, img:not(.brand > img[src$="/favicon.svg"])`)];
  const target = (text) => new URL(text, document.baseURI);
  for (const element of document.querySelectorAll("*")) {
    const script = element.localName === "script" && !target(element.src).pathname.startsWith("/static/");
    const href = element.getAttribute("href");
    const led = href !== null && !["http:", "file:"].includes(target(href).protocol);
    const handles = element.getAttributeNames().some((name) => name.startsWith("on"));
    if (script || led || handles) found.push(element);
  }
  return found.map((element) => element.outerHTML.slice(0, 200));
}"""
"""What is on a page that no page of ours has."""
VISIBLE = [shown(text) for text in PAYLOADS if len(shown(text)) > 5]

pytestmark = pytest.mark.system


def expect_texts(page: Page, selector: str, texts: list[str] = VISIBLE) -> None:
    """Wait until each text stands as text in what the selector finds; nothing else came of them."""
    expect(page.locator(selector).first).to_be_visible()
    end = deadline(20)
    while True:
        held = " ".join(" ".join(page.locator(selector).all_text_contents()).split())
        missing = [text for text in texts if text not in held]
        if not missing:
            break
        assert time.monotonic() < end, missing
        page.locator(selector).last.scroll_into_view_if_needed()
    assert page.evaluate(INTRUDERS) == []


def test_the_texts_are_a_hundred() -> None:
    assert len(set(PAYLOADS)) == 100
    types = {str(event["type"]) for event in events_with("x", 1)}
    assert {
        "portFound",
        "vpnError",
        "screenshotCaptured",
        "reportPhase",
        "scanOrphaned",
        "lost",
        "xx",
    } <= types


def test_the_page_of_a_scan_shows_them_as_text_live_and_from_its_state(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    live = open_page()
    live.open_scan("hostile")
    live.expect_connection("waiting")
    with Emitter("hostile", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit(
            {"type": "scanStarted", "name": PAYLOADS[0], "targets": PAYLOADS[:9], "owner": PAYLOADS[1]}
        )
        for number, text in enumerate(PAYLOADS):
            for event in events_with(text, number):
                last = emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        assert emitter.rejected() == []
        live.expect_seq(last)
        late = open_page()
        late.open_scan("hostile")
        late.expect_seq(last)
        for dashboard in (live, late):
            page = dashboard.page
            page.get_by_label("Kind of findings").select_option("vulnerability")
            expect_texts(page, "[data-testid=finding-row]")
            page.get_by_label("Filter hosts").fill("10.0.0.2")
            row = dashboard.get("host-row").filter(has_text=shown(PAYLOADS[2])).first
            row.get_by_role("button").press("Enter")
            expect(dashboard.get("host-detail")).to_contain_text(shown(PAYLOADS[2]))
            assert page.evaluate(INTRUDERS) == []
        notices = live.get("notices").text_content() or ""
        assert PAYLOADS[99].split()[0] in notices
        emitter.emit({"type": "error", "message": PAYLOADS[2]})
        for dashboard in (live, late):
            expect(dashboard.get("message")).to_have_text(PAYLOADS[2])


def test_lists_past_scans_comparisons_and_exports_show_them_as_text(
    pipeline: Pipeline, open_page: OpenPage, tmp_path: Path
) -> None:
    pipeline.start(config=CLEANUP)
    dashboard = open_page()
    page = dashboard.page
    terminal: tuple[tuple[str, str], ...] = (
        ("error", "message"), ("reportFailed", "error"), ("reportCompleted", "file_path")
    )  # fmt: skip
    about = {"type": "scanStarted", "targets": ["10.0.0.0/24"]}
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for number, text in enumerate(PAYLOADS):
            named = {
                "name": text,
                "targets": [text],
                "labels": {text: text},
                "owner": text,
                "timestamp": text,
            }
            emitter.emit({"type": "scanStarted", **named}, scan_id=f"h-{number}")
            emitter.emit({"type": "phaseStarted", "phase": text, "progress": 5}, scan_id=f"h-{number}")
        emitter.flush(30 * PATIENCE)
        dashboard.open_list()
        expect(dashboard.get("total-scans")).to_have_text("100")
        seen: list[str] = []
        for _ in range(60):
            seen += dashboard.get("scan-row").all_text_contents()
            if page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1"):
                break
            page.mouse.wheel(0, 400)
            page.evaluate(
                "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
            )
        held = " ".join(" ".join(seen).split())
        assert [text for text in VISIBLE if text not in held] == []
        assert page.evaluate(INTRUDERS) == []
        for number, text in enumerate(PAYLOADS):
            kind, field = terminal[number % 3]
            emitter.emit({"type": kind, "report_id": text, field: text}, scan_id=f"h-{number}")
        for scan_id, hosts in (("earlier", PAYLOADS[:1]), ("later", PAYLOADS)):
            emitter.emit({**about, "name": PAYLOADS[0]}, scan_id=scan_id)
            for number, text in enumerate(hosts):
                for event in events_with(text, number):
                    emitter.emit(event, scan_id=scan_id)
            emitter.emit({"type": "scanCompleted"}, scan_id=scan_id)
            emitter.flush(30 * PATIENCE)
        end = deadline(30)
        while len(pipeline.get("/api/scans?past=true&limit=200")[1]["scans"]) < 102:
            assert time.monotonic() < end

    page.goto(f"{pipeline.url}/#/past")
    for shown_rows in (50, 100, 102):
        expect(dashboard.get("past-row")).to_have_count(shown_rows)
        if shown_rows < 102:
            dashboard.get("past-more").click()
    expect_texts(page, "[data-testid=past-row]")

    page.goto(f"{pipeline.url}/#/compare/later/earlier")
    expect(dashboard.get("compare-host").first).to_be_visible()
    expect_texts(page, "[data-testid=compare-host]")

    page.goto(f"{pipeline.url}/#/pipeline")
    expect(dashboard.get("stage").first).to_be_visible()
    assert page.evaluate(INTRUDERS) == []

    for form in ("html", "json", "csv", "ndjson"):
        target = tmp_path / f"later.{'txt' if form in ('csv', 'ndjson') else form}"
        with urllib.request.urlopen(
            f"{pipeline.url}/api/scans/later/export?format={form}", timeout=30 * PATIENCE
        ) as answer:
            target.write_bytes(answer.read())
        opened = open_page()
        opened.page.goto(target.as_uri())
        if form == "html":
            expect_texts(opened.page, "main")
            assert opened.page.locator("script, link, img, [href], [src]").count() == 0
        elif form == "json":
            titles = [
                each[1]
                for host in json.loads(target.read_bytes())["hosts"]
                for each in host["vulnerabilities"]
            ]
            assert {text[:300] for text in PAYLOADS} <= set(titles)
