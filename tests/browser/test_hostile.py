"""What a scanned host says about itself is written by an attacker: it is shown as text, and runs nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import Dashboard
from tests.harness import PATIENCE, Pipeline

SCAN = "hostile"
OpenPage = Callable[..., Dashboard]

MARKUP = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "\"'><svg onload=alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "</title><script>alert(1)</script>",
]
AWKWARD = ["__proto__", "constructor", "", " ", "x" * 5_000, "\x00\x1b]0;owned\x07", "evil\u202etxt.exe"]

pytestmark = pytest.mark.system


def _events(text: str, number: int) -> list[dict[str, object]]:
    at: dict[str, object] = {"ip": f"10.0.0.{number}", "port": 80}
    return [
        {"type": "phaseStarted", "phase": text, "progress": 1},
        {"type": "scanProgress", "phase": text, "progress": 2, "message": text},
        {"type": "hostDiscovered", "ip": text, "hostname": text},
        {"type": "hostDiscovered", "ip": at["ip"], "hostname": text},
        {"type": "portFound", "ip": text, "port": 80, "protocol": "TCP", "state": "Open"},
        {"type": "serviceDetected", **at, "service_name": text, "version": text},
        {"type": "vulnerabilityFound", **at, "severity": "High", "title": text, "cve_id": text},
        {"type": "enumerationStarted", **at, "service_type": text},
        {"type": "enumerationFinding", **at, "finding_type": text, "value": text},
        {"type": "dnsRecordFound", "domain": text, "record_type": text, "value": text},
        {"type": "subdomainFound", "subdomain": text},
        {"type": "vpnError", "config_name": text, "message": text},
        {"type": "error", "message": text, "fatal": False},
        {"type": "lost", "count": 1, "reason": text},
        {"type": "scanOrphaned", "message": text},
        {"type": "scanResumed"},
        {"type": "somethingElse", "text": text, text: text},
    ]


def test_hostile_text_in_every_field_is_text(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    hostile = AWKWARD + MARKUP
    dashboard = open_page()
    dashboard.open_scan(SCAN)
    dashboard.expect_connection("waiting")
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        for number, text in enumerate(hostile):
            for event in _events(text, number):
                last = emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        assert emitter.rejected() == []
        dashboard.expect_seq(last)
        page = dashboard.page
        finding = dashboard.get("finding-row").first
        for text in MARKUP:
            page.get_by_label("Filter findings").fill(text)
            expect(finding).to_contain_text(text)
            expect(dashboard.get("notices")).to_contain_text(text)
        page.get_by_label("Filter hosts").fill(f"10.0.0.{len(AWKWARD)}")
        row = dashboard.get("host-row")
        expect(row).to_contain_text(MARKUP[0])
        expect(row.get_by_test_id("service-name")).to_have_text(MARKUP[0])
        row.get_by_role("button").press("Enter")
        expect(dashboard.get("host-detail")).to_contain_text(MARKUP[0])
        # The marks that hide or turn around text are shown as what they are.
        page.get_by_label("Filter findings").fill("evil")
        expect(finding).to_contain_text("evil·txt.exe")
        emitter.emit({"type": "error", "message": MARKUP[0]})
        expect(dashboard.get("message")).to_have_text(MARKUP[0])

        dashboard.open_list()
        expect(dashboard.get("scan-row")).to_have_count(1)
        expect(dashboard.get("status")).to_have_text("failed")
        made = "main script, main img, main iframe, main svg[onload], main a[href^='javascript']"
        expect(page.locator(made)).to_have_count(0)


def test_even_markup_that_got_in_would_not_run(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_list()
    expect(dashboard.get("empty")).to_be_visible()
    assert dashboard.problems == []
    ran = dashboard.page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", () => resolve("stopped"), { once: true });
          const script = document.createElement("script");
          try {
            script.textContent = "window.ran = true";
            document.body.append(script);
          } catch {}
          if (window.ran) resolve("ran");
        })"""
    )
    assert ran == "stopped"
    assert all("Content Security Policy" in problem or "Trusted" in problem for problem in dashboard.problems)
    dashboard.problems.clear()


@pytest.mark.parametrize("address", ["<script>alert(1)</script>", "..%2f..%2fetc", "%", "%00", "a/b", ".x"])
def test_an_address_that_names_no_scan_says_so(pipeline: Pipeline, open_page: OpenPage, address: str) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.open_scan(address)
    expect(dashboard.get("not-found")).to_be_visible()
