"""What a reader chooses on the page of one scan: filters, order, pause, a host; and the address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import events_of
from tests.harness import PATIENCE, Pipeline

SCAN = "office"
OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system


def _finding(number: int, severity: str, title: str) -> dict[str, object]:
    ip = f"10.0.0.{number}"
    return {
        "type": "vulnerabilityFound",
        "ip": ip,
        "severity": severity,
        "title": title,
        "cve_id": "CVE-2026-1",
    }


def test_findings_are_filtered_by_severity_kind_and_text(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit(_finding(1, "Critical", "worst of all"))
        emitter.emit(_finding(2, "High", "quite bad"))
        emitter.emit(_finding(3, "Info", "harmless"))
        emitter.emit({"type": "subdomainFound", "subdomain": "bad.example.test"})
        last = emitter.emit({"type": "dnsRecordFound", "domain": "a.test", "record_type": "MX", "value": "m"})
        emitter.flush(30 * PATIENCE)
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_seq(last)
        page, rows = dashboard.page, dashboard.get("finding-row")
        expect(rows).to_have_count(5)
        page.get_by_role("button", name="Critical", exact=True).click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("worst of all")
        expect(dashboard.get("findings-shown")).to_have_text("1 of 5")
        page.get_by_role("button", name="High", exact=True).click()
        expect(rows).to_have_count(2)
        page.get_by_label("Filter findings").fill("BAD")
        expect(rows).to_contain_text("quite bad")
        page.get_by_role("button", name="Critical", exact=True).click()
        page.get_by_role("button", name="High", exact=True).click()
        expect(rows).to_have_count(2)
        page.get_by_label("Kind of findings").select_option("subdomain")
        expect(rows).to_contain_text("bad.example.test")
        # What comes goes through the filter, too; the figures do not.
        emitter.emit({"type": "subdomainFound", "subdomain": "worse.example.test"})
        last = emitter.emit({"type": "subdomainFound", "subdomain": "bad2.example.test"})
        dashboard.expect_seq(last)
        expect(rows).to_have_count(2)
        assert dashboard.number("vulns-count") == 3


def test_paused_the_list_stays_says_what_came_and_goes_on(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit(_finding(1, "High", "first"))
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        rows, pause = dashboard.get("finding-row"), dashboard.get("pause")
        expect(rows).to_have_count(1)
        pause.click()
        expect(pause).to_have_attribute("aria-pressed", "true")
        for number in range(2, 6):
            last = emitter.emit(_finding(number, "Low", f"title {number}"))
        dashboard.expect_seq(last)
        expect(pause).to_have_text("Resume (4 new)")
        expect(rows).to_have_count(1)
        assert dashboard.number("vulns-count") == 5, "figures go on"
        assert dashboard.number("hosts-count") == 5
        pause.click()
        expect(rows).to_have_count(5)
        expect(pause).to_have_text("Pause")


def test_the_address_says_what_is_shown_and_opens_the_same(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for event in events_of(4, SCAN):
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_seq(15_000)
        expect(dashboard.get("hosts-shown")).to_have_text("256")  # hosts come in pages after the snapshot
        page = dashboard.page
        page.get_by_label("Order of hosts").select_option("ports")
        page.get_by_label("Filter hosts").fill("smtp")
        page.get_by_role("button", name="Critical", exact=True).click()
        page.get_by_label("Filter findings").fill("exim")
        row = dashboard.get("host-row").nth(8)
        ip = row.get_attribute("data-ip")
        row.get_by_role("button").press("Enter")
        expect(dashboard.get("host-detail")).to_be_visible()
        address = page.url
        for part in ("order=ports", "hosts=smtp", "severity=Critical", "find=exim", f"host={ip}"):
            assert part in address
        shown = (dashboard.text("hosts-shown"), dashboard.get("finding-row").all_inner_texts())
        other = open_page()
        other.page.goto(address)
        other.expect_seq(15_000)
        expect(other.get("host-detail")).to_have_attribute("aria-label", f"Details of {ip}")
        expect(other.get("hosts-shown")).to_have_text(shown[0])
        assert other.get("finding-row").all_inner_texts() == shown[1]
        expect(other.page.get_by_label("Order of hosts")).to_have_value("ports")
        # Rubbish in an address is nothing.
        other.page.goto(f"{pipeline.url}/#/scan/{SCAN}?order=<b>&severity=Grave,High&kind=x&host=1.1.1.1")
        expect(other.page.get_by_role("button", name="High", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(other.page.get_by_label("Order of hosts")).to_have_value("found")


def test_hosts_are_found_and_opened_with_the_keyboard(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for event in events_of(4, SCAN):
            emitter.emit(event)
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_status("completed")
        page = dashboard.page
        page.get_by_label("Filter hosts").fill("10.0.0.77")
        expect(dashboard.get("hosts-shown")).to_have_text("1 of 256")
        expect(dashboard.get("host-row")).to_have_count(1)
        page.get_by_role("button", name="10.0.0.77").press("Enter")
        expect(dashboard.get("host-detail")).to_contain_text("/tcp")
        page.get_by_role("button", name="10.0.0.77").press("Escape")
        expect(dashboard.get("host-detail")).to_have_count(0)
        page.get_by_label("Filter hosts").press("Escape")
        expect(dashboard.get("hosts-shown")).to_have_text("256")
        page.get_by_role("table", name="Hosts").focus()
        for key, ip in (
            ("Home", "10.0.0.0"),
            ("ArrowDown", "10.0.0.1"),
            ("End", "10.0.0.255"),
            ("ArrowUp", "10.0.0.254"),
        ):
            page.keyboard.press(key)
            focused = page.evaluate(
                "() => document.activeElement.closest('[data-testid=host-row]').dataset.ip"
            )
            assert focused == ip
        page.keyboard.press("Enter")
        expect(dashboard.get("host-detail")).to_have_attribute("aria-label", "Details of 10.0.0.254")


def test_every_action_is_reached_by_the_keyboard_and_shows_its_focus(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit(_finding(1, "High", "first"))
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        expect(dashboard.get("finding-row")).to_have_count(1)
        page = dashboard.page
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            name, outlined = page.evaluate(
                """() => {
                  const element = document.activeElement;
                  if (element === document.body) return ["", true];
                  const name = element.getAttribute("aria-label") ?? element.textContent;
                  return [name, getComputedStyle(element).outlineStyle !== "none"];
                }"""
            )
            reached.add(name.strip())
            assert outlined, name
        for action in (
            "Pause",
            "Critical",
            "Filter findings",
            "Kind of findings",
            "Filter hosts",
            "Order of hosts",
            "Hosts",
        ):
            assert action in reached, action
