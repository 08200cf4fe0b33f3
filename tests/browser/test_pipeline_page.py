"""The pipeline view, in a real Chromium, before the real pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import zmq
from playwright.sync_api import Locator, expect

from pipeline import Emitter
from pipeline.sockets import ingest_data
from tests.browser.test_client import HIDING
from tests.e2e.browsing import Dashboard
from tests.faults.crashing import kill
from tests.harness import Pipeline
from tests.sockets.peers import Peers
from tests.sockets.test_notify import Notify

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system


def open_pipeline(dashboard: Dashboard) -> None:
    dashboard.page.goto(f"{dashboard.url}/#/pipeline")


def stage(dashboard: Dashboard, name: str) -> Locator:
    return dashboard.page.locator(f"[data-testid=stage][data-stage={name}]")


def expect_state(dashboard: Dashboard, name: str, state: str) -> None:
    expect(stage(dashboard, name).get_by_test_id("stage-state")).to_have_text(state)


def test_a_worker_that_is_killed_is_seen_at_once_and_seen_to_be_back(
    pipeline: Pipeline, open_page: OpenPage
) -> None:
    pipeline.start(workers=2)
    dashboard = open_page()
    dashboard.open_list()
    dashboard.page.get_by_role("link", name="Pipeline").click()
    expect(dashboard.get("stage")).to_have_count(6)
    for name in ("ingest-0", "shard-0", "shard-3", "edge-0"):
        expect_state(dashboard, name, "alive")
    expect(dashboard.get("verdict")).to_have_text("All 6 stages are well.")
    kill(pipeline, "throttle-batch-1")
    expect(dashboard.get("verdict")).to_have_text("shard-1, shard-3: does not answer")
    expect(dashboard.get("verdict")).to_have_attribute("data-level", "bad")
    expect_state(dashboard, "shard-1", "silent")
    expect_state(dashboard, "shard-0", "alive")
    expect(dashboard.page.locator("#announcer")).to_have_text("shard-1, shard-3: does not answer")
    pipeline.start_one("throttle-batch-1", workers=2)
    expect_state(dashboard, "shard-1", "alive")
    expect(dashboard.get("verdict")).to_have_text("All 6 stages are well.")
    assert all("503" in problem for problem in dashboard.problems), (
        "that of /readyz, if it was asked meanwhile"
    )
    dashboard.problems.clear()


def test_what_was_not_taken_is_told_with_its_meaning(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    open_pipeline(dashboard)
    expect(dashboard.get("refusals")).to_contain_text("Nothing was rejected")
    with Peers(pipeline.run_dir) as peers:
        producer = peers.connect(zmq.PUSH, ingest_data(0))
        for _ in range(3):
            producer.send(b'{"type":"portFound","scan_id":"demo","ip":"::1","port":70000}')
        producer.send(b'{"type"')
        row = dashboard.page.locator("[data-testid=refusal][data-reason=schema]")
        expect(row).to_contain_text("3")
        expect(row).to_contain_text("ingest-0")
        expect(row).to_contain_text("a field with a wrong type or range")
        expect(dashboard.page.locator("[data-testid=refusal][data-reason=json]")).to_be_visible()


def test_events_pass_and_readers_are_told(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    reader = open_page()
    reader.open_scan("demo")
    dashboard = open_page()
    open_pipeline(dashboard)
    with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        row = dashboard.get("connection").filter(has_text="demo")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("127.0.0.1")
        expect(row).to_contain_text("demo")
        expect(row).to_contain_text("full")
        expect(stage(dashboard, "edge-0")).to_contain_text(re.compile(r"[1-9] native"))
        busy = re.compile(r"[1-9][0-9.,]* events/s in")
        number = 0
        while not busy.search(dashboard.text("pipeline-summary")):
            number += 1
            emitter.emit({"type": "hostDiscovered", "ip": f"10.0.{number // 250}.{number % 250}"})
            dashboard.page.wait_for_timeout(20)
        drawn = stage(dashboard, "ingest-0").locator(".spark-line").get_attribute("d")
        assert drawn is not None
        assert len(set(re.findall(r",([0-9.]+)", drawn))) > 1, "a line that is not flat"


def test_a_journal_that_cannot_be_written_is_told(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.shards = 1
    full = "[journal]\nmin_free_bytes = 1099511627776\n"
    pipeline.start_one("ingest-0")
    pipeline.start_one("throttle-batch-0", config={"throttle-batch": full}).wait_for("ready")
    pipeline.start_edge()
    dashboard = open_page()
    open_pipeline(dashboard)
    expect(dashboard.get("verdict")).to_contain_text("shard-0: cannot write its journal")
    expect_state(dashboard, "shard-0", "unwritable")
    expect(stage(dashboard, "shard-0")).to_contain_text("not writable")
    dashboard.problems.clear()  # /readyz is 503


def test_while_it_is_hidden_it_asks_nothing(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    hidden, seen = open_page(), open_page()
    hidden.page.add_init_script(HIDING)
    asked: list[str] = []
    for dashboard in (hidden, seen):
        open_pipeline(dashboard)
        expect_state(dashboard, "ingest-0", "alive")
    hidden.page.evaluate("setHidden(true)")
    hidden.page.on("request", lambda request: asked.append(request.url))
    kill(pipeline, "ingest-0")
    expect_state(seen, "ingest-0", "silent")
    pipeline.start_one("ingest-0")
    expect_state(seen, "ingest-0", "alive")
    assert asked == []
    expect_state(hidden, "ingest-0", "alive")
    kill(pipeline, "ingest-0")
    hidden.page.evaluate("setHidden(false)")
    expect_state(hidden, "ingest-0", "silent")


def test_an_edge_that_is_gone_is_told(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    open_pipeline(dashboard)
    expect_state(dashboard, "edge-0", "alive")
    kill(pipeline, "edge-0")
    expect(dashboard.get("verdict")).to_contain_text("The edge does not answer.")
    expect_state(dashboard, "shard-0", "last known")
    pipeline.start_edge()
    expect_state(dashboard, "shard-0", "alive")
    expect(dashboard.get("verdict")).to_have_text("All 6 stages are well.")
    # Chromium notes what was not answered, and a readiness that was red while the edge began.
    assert all("ERR_CONNECTION" in problem or "503" in problem for problem in dashboard.problems)
    dashboard.problems.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(pipeline: Pipeline, open_page: OpenPage, width: int, scheme: str) -> None:
    pipeline.start()
    dashboard = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    open_pipeline(dashboard)
    expect_state(dashboard, "shard-3", "alive")
    assert dashboard.page.evaluate("document.documentElement.scrollWidth") <= width
    for card in dashboard.get("stage").all():
        box = card.bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    ground = dashboard.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) == (scheme == "dark")


def test_notify_has_a_card_when_there_is_one(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    open_pipeline(dashboard)
    expect(dashboard.get("verdict")).to_have_text("All 6 stages are well.")
    expect(stage(dashboard, "notify")).to_have_count(0)
    expect(dashboard.page.get_by_role("region", name="Notify")).to_be_hidden()
    toml = '[hooks]\nops = {url = "http://127.0.0.1:1/", secret_env = "HOOK_SECRET", on = ["completed"]}\n'
    notify = Notify(pipeline, toml)
    try:
        expect(stage(dashboard, "notify")).to_contain_text("Delivered")
        expect_state(dashboard, "notify", "alive")
        expect(dashboard.get("verdict")).to_have_text("All 7 stages are well.")
        notify.stop()
        expect(dashboard.page.get_by_role("region", name="Notify")).to_be_hidden()
    finally:
        notify.close()
