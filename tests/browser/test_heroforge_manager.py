"""HeroForge's frontend protocol from inside a real browser: its WebSocketManager, made again here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from tests.e2e.browsing import WAIT_MS, Dashboard
from tests.faults.crashing import events_of, kill
from tests.harness import Pipeline

SCAN = "office"

# It reconnects on every close, after 1 s doubling to 8 s, 10 times; its handlers read a few fields by type.
MANAGER = """
(scanId) => {
  const seen = { statuses: [], lines: [], counts: {} };
  window.seen = seen;
  const read = {
    hostDiscovered: (m) => [m.ip, m.hostname],
    portFound: (m) => [m.ip, m.port, m.protocol, m.state],
    serviceDetected: (m) => [m.ip, m.port, m.service_name, m.version],
    vulnerabilityFound: (m) => [m.ip, m.cve_id, m.severity, m.title],
    phaseStarted: (m) => [m.phase, m.progress],
    scanStarted: () => [],
    scanCompleted: (m) => [m.total_hosts],
    error: (m) => [m.message],
  };
  let attempts = 0;
  const connect = () => {
    seen.statuses.push("connecting");
    const socket = new WebSocket(`ws://${location.host}/api/ws/scans/${scanId}?token=abc`);
    socket.onopen = () => { attempts = 0; seen.statuses.push("connected"); };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      seen.counts[message.type] = (seen.counts[message.type] ?? 0) + 1;
      const fields = read[message.type]?.(message);
      if (fields) seen.lines.push([message.type, ...fields.map((field) => field ?? null)]);
    };
    socket.onclose = () => {
      seen.statuses.push("disconnected");
      attempts += 1;
      if (attempts <= 10) setTimeout(connect, Math.min(1000 * 2 ** (attempts - 1), 8000));
    };
  };
  connect();
}
"""
FIELDS = {
    "hostDiscovered": ("ip", "hostname"),
    "portFound": ("ip", "port", "protocol", "state"),
    "serviceDetected": ("ip", "port", "service_name", "version"),
    "vulnerabilityFound": ("ip", "cve_id", "severity", "title"),
    "phaseStarted": ("phase", "progress"),
    "scanStarted": (),
    "scanCompleted": ("total_hosts",),
    "error": ("message",),
}

pytestmark = pytest.mark.system


def test_it_sees_a_scan_and_comes_back_after_an_edge_was_killed(
    pipeline: Pipeline, open_page: Callable[..., Dashboard]
) -> None:
    pipeline.start()
    sent = events_of(1, SCAN)
    dashboard = open_page()
    dashboard.open_list()
    expect(dashboard.get("empty")).to_be_visible()
    dashboard.page.evaluate(MANAGER, SCAN)
    _wait(dashboard, "seen.lines.length === 1")
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for event in sent:
            emitter.emit(event)
        _wait(dashboard, "seen.counts.scanCompleted === 1")
        seen = dashboard.page.evaluate("window.seen")
        assert seen["statuses"] == ["connecting", "connected"]
        assert seen["lines"] == [
            ["error", "Scan channel not found"],
            *(_read(event) for event in map(json.loads, sent) if event["type"] in FIELDS),
        ]
        assert dashboard.problems == []
        kill(pipeline, "edge-0")
        _wait(dashboard, "seen.statuses.at(-1) === 'disconnected'")
        pipeline.start_edge()
        _wait(dashboard, "seen.statuses.at(-1) === 'connected'")
    dashboard.problems.clear()


def _read(event: dict[str, Any]) -> list[Any]:
    return [event["type"], *(event.get(name) for name in FIELDS[event["type"]])]


def _wait(dashboard: Dashboard, fact: str) -> None:
    dashboard.page.wait_for_function(f"() => {fact}", timeout=WAIT_MS)
