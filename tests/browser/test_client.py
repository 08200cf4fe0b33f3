"""The JavaScript client in a real Chromium: in the dashboard, and alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pipeline import Emitter
from tests.browser.plain_proxy import PlainProxy
from tests.client.fake_edge import FakeEdge, Far
from tests.e2e.browsing import WAIT_MS, Dashboard
from tests.faults.crashing import events_of, kill
from tests.harness import PATIENCE, Pipeline

README = Path(__file__).parents[2] / "README.md"
SCAN = "office"
OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system

READ = """async (options) => {
  const { ScanStream } = await import("/static/scanstream.js");
  window.got = { messages: [], states: [], calls: 0, strays: 0 };
  const { got } = window;
  const stream = window.stream = new ScanStream({
    ...options,
    onMessages: (messages) => {
      got.messages.push(...messages);
      got.calls += 1;
      if (!window.drawing) got.strays += 1;
    },
    onState: (state) => got.states.push({ ...state, now: performance.now() }),
  });
  stream.open();
}"""

DRAWING = """
  const later = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) => later((now) => {
    window.drawing = true;
    try { callback(now); } finally { window.drawing = false; }
  });
"""
"""Marks the time in which callbacks of an animation frame run."""

HIDING = """
  let hidden = false;
  let held = [];
  Object.defineProperty(document, "hidden", { get: () => hidden });
  Object.defineProperty(document, "visibilityState", { get: () => (hidden ? "hidden" : "visible") });
  const later = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) => (hidden ? held.push(callback) : later(callback));
  window.setHidden = (value) => {
    hidden = value;
    document.dispatchEvent(new Event("visibilitychange"));
    if (!hidden) for (const callback of held.splice(0)) later(callback);
  };
"""
"""A page that can be hidden as a background tab is: nothing is drawn then."""


def wait(page: Page, expression: str) -> None:
    """Wait until this is true in the page; by a timer, for a hidden page has no animation frames."""
    page.wait_for_function(expression, polling=50, timeout=WAIT_MS)


def got(page: Page) -> Any:
    return page.evaluate("() => window.got")


# --- the dashboard --------------------------------------------------------------------------------


def test_where_websockets_are_refused_server_sent_events_do(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    sent = events_of(1, SCAN)
    half = len(sent) // 2
    with PlainProxy(pipeline.port) as proxy, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.url = proxy.url
        dashboard.open_scan(SCAN)
        dashboard.expect_connection("waiting")
        assert proxy.refused >= 2  # and the statistics
        for event in sent[:half]:
            emitter.emit(event)
        dashboard.expect_seq(half)
        kill(pipeline, "edge-0")
        dashboard.expect_connection("reconnecting")
        for event in sent[half:]:
            emitter.emit(event)
        pipeline.start_edge()
        dashboard.expect_seq(len(sent))
        dashboard.expect_status("completed")
        ledger = dashboard.ledger()
        assert dashboard.number("snapshot-total") + ledger["events"] + ledger["merged"] == len(sent)
        assert ledger["missed"] == 0
        untouched = open_page()
        untouched.open_scan(SCAN)
        untouched.expect_seq(len(sent))
        assert dashboard.figures() == untouched.figures()
        dashboard.page.goto("about:blank")
    # A browser tells of every connection that fails, whatever a page does about it.
    dashboard.problems.clear()


def test_the_example_of_the_readme_reads_events(pipeline: Pipeline, open_page: OpenPage) -> None:
    (example,) = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
    pipeline.start()
    with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
    dashboard = open_page(bypass_csp=True)  # the edge's pages run no script but their own files
    dashboard.open_list()
    with dashboard.page.expect_console_message(lambda message: message.text.startswith("batch")) as said:
        dashboard.page.add_script_tag(content=example, type="module")
    assert said.value.args[1].json_value() == [{"type": "scanStarted"}]


# --- the client alone -----------------------------------------------------------------------------


def test_a_hidden_page_is_given_everything_and_no_animation_frame(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    sent = events_of(2, SCAN)
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        page = dashboard.page
        page.add_init_script(HIDING)
        dashboard.open_list()
        page.evaluate("() => setHidden(true)")
        page.evaluate(READ, {"scanId": SCAN})
        for event in sent:
            emitter.emit(event)
        wait(page, f"() => stream.position?.endsWith(':{len(sent)}')")
        batches = [message for message in got(page)["messages"] if message["type"] == "batch"]
        assert sum(len(batch["events"]) + batch["merged"] for batch in batches) == len(sent)
        assert got(page)["calls"] < len(batches), "more than one message at a time"
        page.evaluate("() => stream.close()")


def test_it_begins_with_a_snapshot_when_asked_to_and_goes_on_behind_it(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        for number in range(5):
            emitter.emit({"type": "tick", "n": number})
        emitter.flush(30 * PATIENCE)
        dashboard = open_page()
        page = dashboard.page
        dashboard.open_list()
        page.evaluate(READ, {"scanId": SCAN, "begin": "snapshot"})
        wait(page, "() => window.stream.position?.endsWith(':5')")
        for number in range(5, 8):
            emitter.emit({"type": "tick", "n": number})
        wait(page, "() => window.stream.position?.endsWith(':8')")
        messages = got(page)["messages"]
        assert [message["type"] for message in messages[:2]] == ["hello", "snapshot"]
        assert messages[1]["state"]["event_count"] == 5
        assert [event["n"] for message in messages[2:] for event in message["events"]] == [5, 6, 7]
        page.evaluate("() => stream.close()")


def test_it_backs_off_while_nobody_is_there_and_comes_at_once_when_the_network_does(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start()
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        dashboard = open_page()
        dashboard.open_list()
        page = dashboard.page
        page.evaluate(READ, {"scanId": SCAN})
        for number in range(5):
            emitter.emit({"type": "tick", "n": number})
        wait(page, "() => window.stream.position?.endsWith(':5')")
        kill(pipeline, "edge-0")
        wait(page, "() => got.states.filter(({ name }) => name === 'reconnecting').length >= 4")
        for number in range(5, 10):
            emitter.emit({"type": "tick", "n": number})
        pipeline.start_edge()
        page.evaluate("() => window.dispatchEvent(new Event('online'))")
        wait(page, "() => window.stream.position?.endsWith(':10')")
        told = got(page)
        waits = [state for state in told["states"] if state["name"] == "reconnecting"]
        bounds = [(0, 200), (500, 1000), (500, 2000), (500, 4000)]
        for state, (least, most) in zip(waits, bounds, strict=False):
            assert least - 50 <= state["retryAt"] - state["now"] <= most
        batches = [message for message in told["messages"] if message["type"] == "batch"]
        assert [event["n"] for batch in batches for event in batch["events"]] == list(range(10))
        page.evaluate("() => stream.close()")
    dashboard.problems.clear()


def test_a_gap_a_lag_and_a_snapshot_on_animation_frames(pipeline: Pipeline, open_page: OpenPage) -> None:
    def gap(far: Far) -> None:
        far.hello(seq=9)
        far.batch(1, 3)
        far.batch(5, 9)
        far.wait_left()

    def rest(far: Far) -> None:
        far.hello(seq=90)
        far.batch(4, 9)
        far.lag(10, 60, 50)
        far.batch(33, 33)
        far.say("snapshot", epoch=1, seq=60, state={})
        far.batch(61, 90)
        far.wait_left()

    pipeline.start()
    with FakeEdge(gap, rest) as edge:
        dashboard = open_page(bypass_csp=True)  # the edge's pages may only reach the edge
        page = dashboard.page
        page.add_init_script(DRAWING)
        dashboard.open_list()
        page.evaluate(READ, {"scanId": "demo", "url": edge.url})
        wait(page, "() => stream.position === '1:90'")
        told = got(page)
        batches = [message for message in told["messages"] if message["type"] == "batch"]
        numbers = [event["n"] for batch in batches for event in batch["events"]]
        assert numbers == [*range(1, 10), 33, *range(61, 91)]
        kinds = [message["type"] for message in told["messages"] if message["type"] != "batch"]
        assert kinds == ["hello", "gap", "hello", "lag", "snapshot"]
        assert told["strays"] == 0, "all was handed out on an animation frame"
        page.evaluate("() => stream.close()")
        expect(page.get_by_test_id("empty")).to_be_visible()


def test_a_hidden_page_is_patient(pipeline: Pipeline, open_page: OpenPage) -> None:
    """Silent for far longer than the edge's timeout, it stays; seen again, it leaves at once."""

    def silent(far: Far) -> None:
        far.hello(ping_interval=0.1, client_timeout=0.3)
        far.batch(1, 1)
        assert far.heard() == {"action": "ping"}
        far.wait_left()

    def alive(far: Far) -> None:
        far.hello()
        far.batch(2, 2)
        far.wait_left()

    pipeline.start()
    with FakeEdge(silent, alive) as edge:
        dashboard = open_page(bypass_csp=True)
        page = dashboard.page
        page.add_init_script(HIDING)
        page.clock.install()
        dashboard.open_list()
        page.evaluate("() => setHidden(true)")
        page.evaluate(READ, {"scanId": "demo", "url": edge.url})
        edge.next()
        wait_in_fake_time(page, "() => stream.position === '1:1'")
        page.clock.run_for(60_000)
        assert [state["name"] for state in got(page)["states"]] == ["connecting", "live"]
        page.evaluate("() => setHidden(false)")
        edge.next()
        wait_in_fake_time(page, "() => stream.position === '1:2'")
        states = got(page)["states"]
        assert [state["name"] for state in states] == [
            "connecting",
            "live",
            "reconnecting",
            "connecting",
            "live",
        ]
        assert states[2]["reason"] == "no sign of life from the server"
        page.evaluate("() => stream.close()")


def wait_in_fake_time(page: Page, expression: str) -> None:
    """Let the page's clock go on, a little at a time, until this is true in it."""
    for _ in range(1_000):
        if page.evaluate(expression):
            return
        page.clock.run_for(20)
    raise AssertionError(f"in vain: {expression}")
