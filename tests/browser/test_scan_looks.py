"""How the page of one scan looks: narrow, dark, without jumps, and said to a screen reader."""

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

JUMPS = """
  window.jumps = [];
  const within = (node) => node?.closest?.(".findings, .host-canvas, .phases") != null;
  new PerformanceObserver((list) => {
    for (const { value, sources, hadRecentInput } of list.getEntries()) {
      const nodes = sources.map(({ node }) => (node?.nodeType === 1 ? node : node?.parentElement));
      const moved = nodes.filter((node) => !within(node));
      if (hadRecentInput || moved.length === 0) continue;
      window.jumps.push([value, ...moved.map((node) => node?.className ?? "")]);
    }
  }).observe({ type: "layout-shift", buffered: true });
"""
"""Notes what has moved by itself, but for what stands in lists that grow at their top."""

CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parse(color).slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((parse(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.querySelectorAll("#main *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility({ opacityProperty: true })) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""
"""Returns texts that stand out too little (WCAG 2.1, 1.4.3: 4.5 to 1)."""

pytestmark = pytest.mark.system


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_scrolling_sideways_and_texts_stand_out(
    pipeline: Pipeline, open_page: OpenPage, scheme: str
) -> None:
    pipeline.start()
    scan_id = "a-scan-with-as-long-a-name-as-there-may-be".ljust(64, "x")
    with Emitter(scan_id, run_dir=str(pipeline.run_dir)) as emitter:
        for event in events_of(5, scan_id):
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
    for width in (390, 360):
        dashboard = open_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
        dashboard.open_list()
        expect(dashboard.get("scan-row")).to_have_count(1)
        assert _overflow(dashboard) == 0
        dashboard.page.goto(f"{pipeline.url}/#/scan/{scan_id}?host=10.0.0.1")
        dashboard.expect_status("completed")
        expect(dashboard.get("host-detail")).to_be_visible()
        assert _overflow(dashboard) == 0
        assert dashboard.page.evaluate(CONTRAST) == []
    wide = open_page(viewport={"width": 1360, "height": 900}, color_scheme=scheme)
    wide.open_scan(scan_id)
    wide.expect_status("completed")
    assert wide.page.evaluate(CONTRAST) == []
    ground = wide.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(245, 246, 249)") == (scheme == "light")


@pytest.mark.parametrize("width", [1360, 390])
def test_nothing_jumps_while_a_scan_comes_in(pipeline: Pipeline, open_page: OpenPage, width: int) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page(viewport={"width": width, "height": 900})
        dashboard.page.add_init_script(JUMPS)
        dashboard.open_scan(SCAN)
        dashboard.expect_connection("waiting")
        dashboard.page.evaluate("() => { window.jumps.length = 0; }")
        for event in events_of(6, SCAN)[:-1]:
            emitter.emit(event)
        dashboard.expect_seq(14_999)
        jumps = dashboard.page.evaluate("() => window.jumps")
        assert sum(value for value, *_ in jumps) < 0.02, sorted(jumps)[-5:]


def test_changes_are_said_and_only_politely(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_scan(SCAN)
        dashboard.expect_connection("waiting")
        live = dashboard.page.locator("[aria-live]")
        expect(live).to_have_count(1)
        expect(live).to_have_attribute("aria-live", "polite")
        emitter.emit({"type": "scanStarted"})
        expect(live).to_have_text(f"Scan {SCAN}: running")
        emitter.emit({"type": "error", "message": "out of memory"})
        expect(live).to_have_text(f"Scan {SCAN}: failed, out of memory")
        bar = dashboard.page.get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-label", f"Progress of {SCAN}")
        unnamed = dashboard.page.evaluate(
            """() => [...document.querySelectorAll("#main :is(button, input, select, [tabindex])")]
              .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim()))
              .map((element) => element.outerHTML)"""
        )
        assert unnamed == []


def _overflow(dashboard: Dashboard) -> int:
    """Return by how many pixels the page is wider than the window."""
    return dashboard.page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
