"""The questions for a scan's state and its hosts, put to real workers, and what a watchdog adds there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from pipeline import Emitter
from pipeline.event import read_event
from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.scan_state import ScanState
from tests.harness import PATIENCE, Pipeline, private_dir
from tests.unit.throttle_batch.conftest import treatment

WAIT_S = 20 * PATIENCE
REFERENCE = [raw for _, raw in heroforge(5, "demo")]
WATCHED = "[watchdog]\nstalled_after_s = 0.5\nstalled_factor = 1\nstalled_at_most_s = 0.5\n"
ORPHANED = "[watchdog]\nstalled_after_s = 0\norphaned_after_s = 1.0\norphan_grace_s = 0.5\n"


@pytest.fixture
def started() -> Iterator[Any]:
    """Give a function that starts a whole pipeline, with a configuration of its workers."""
    pipelines: list[Pipeline] = []
    with private_dir() as place:

        def start(toml: str = "") -> Pipeline:
            pipelines.append(Pipeline(Path(place)))
            pipelines[-1].start(config={"throttle-batch": toml} if toml else None)
            return pipelines[-1]

        try:
            yield start
        finally:
            for pipeline in pipelines:
                pipeline.close()


def emitted(pipeline: Pipeline, *events: bytes, scan_id: str = "demo") -> None:
    with Emitter(scan_id, run_dir=str(pipeline.run_dir)) as emitter:
        for raw in events:
            emitter.emit(raw)


def folded(events: list[bytes]) -> ScanState:
    """What a scan's state is, folded by itself."""
    state = ScanState()
    for seq, raw in enumerate(events, 1):
        state.fold(read_event(raw), treatment(raw), seq)
    return state


def all_hosts(pipeline: Pipeline, limit: int) -> list[dict[str, Any]]:
    hosts: list[dict[str, Any]] = []
    following = 0
    while following is not None:
        status, page = pipeline.get(f"/api/scans/demo/hosts?after={following}&limit={limit}")
        assert status == 200
        hosts += page["hosts"]
        following = page["next"]
    return hosts


def own_hosts(state: ScanState) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in state.hosts.page(0, 1_000, 1 << 30)[0]]


def check_state(pipeline: Pipeline, events: list[bytes]) -> None:
    """The pipeline's state is that of folding the events by oneself."""
    state = folded(events)
    status, found = pipeline.get("/api/scans/demo")
    assert (status, found["seq"], found["event_count"]) == (200, len(events), len(events))
    totals = state.totals()
    assert found["totals"] == {
        "hosts": totals.hosts,
        "open_ports": totals.open_ports,
        "services": totals.services,
        "vulnerabilities": totals.vulnerabilities,
        "exact": True,
    }
    assert (found["counts"], found["phase"]) == (state.counts, state.phase)
    assert (found["progress"], found["status"]) == (state.progress.percent, state.status)
    assert [finding["seq"] for finding in found["findings"]] == [each.seq for each in state.findings()]
    assert all_hosts(pipeline, 7) == own_hosts(state)


def test_a_scan_is_the_same_live_after_a_kill_and_from_the_journal(started: Any) -> None:
    pipeline = started("[cleanup]\ncleanup_after_s = 1.0\n")
    first, rest = REFERENCE[:4_000], REFERENCE[4_000:]
    emitted(pipeline, *first)
    check_state(pipeline, first)
    pipeline.processes["throttle-batch-0"].close()  # by SIGKILL
    pipeline.start_one("throttle-batch-0", config={"throttle-batch": "[cleanup]\ncleanup_after_s = 1.0\n"})
    pipeline.wait_ready()
    check_state(pipeline, first)
    emitted(pipeline, *rest)
    assert eventually(lambda: pipeline.get("/api/scans/demo")[1]["cleaned_up"])
    check_state(pipeline, REFERENCE)
    assert pipeline.get("/api/scans")[1]["scans"] == []


def test_a_page_that_is_opened_in_the_middle_shows_what_one_that_stayed_shows(started: Any) -> None:
    pipeline = started()
    emitted(pipeline, *REFERENCE[:7_000])
    sending = threading.Thread(target=emitted, args=(pipeline, *REFERENCE[7_000:]))
    with connect(pipeline.ws("/ws/scans/demo?since=start"), max_size=None) as stayed:
        sending.start()
        with connect(pipeline.ws("/ws/scans/demo"), max_size=None) as late:
            snapshot, events = read_to_the_end(late)
            _, everything = read_to_the_end(stayed)
    sending.join(WAIT_S)
    assert snapshot is not None
    assert snapshot["seq"] >= 7_000
    assert min(events) > snapshot["seq"]
    state = folded(REFERENCE[: snapshot["seq"]])
    assert snapshot["state"]["totals"]["open_ports"] == state.totals().open_ports
    assert snapshot["state"]["hosts"] == own_hosts(state)[: len(snapshot["state"]["hosts"])]
    for seq in sorted(events):
        state.fold(read_event(events[seq]), treatment(events[seq]), seq)
    whole = folded(REFERENCE)
    assert (state.totals(), own_hosts(state)) == (whole.totals(), own_hosts(whole))
    assert [each.title for each in state.findings()] == [each.title for each in whole.findings()]
    both = events.keys() & everything.keys()  # where frames are cut tells which progress is merged away
    assert {seq: events[seq] for seq in both} == {seq: everything[seq] for seq in both}


def test_who_comes_back_at_a_snapshot_ahead_of_its_frame_is_given_what_follows_once(started: Any) -> None:
    pipeline = started("[batch]\nbatch_interval_s = 60.0\n")
    emitted(pipeline, *REFERENCE[:1], *[b'{"type":"note","n":%d}' % n for n in (2, 3)])
    with connect(pipeline.ws("/ws/scans/demo")) as browser:
        hello = json.loads(browser.recv(WAIT_S))
        snapshot = json.loads(browser.recv(WAIT_S))
    assert (hello["seq"], snapshot["seq"]) == (1, 3), "events 2 and 3 wait for their frame"
    since = f"{snapshot['epoch']}:3"
    status, part = pipeline.get(f"/api/scans/demo/events?since={since}")
    assert (status, part["resumed"], part["events"], part["complete"]) == (200, True, [], False)
    with connect(pipeline.ws(f"/ws/scans/demo?since={since}")) as browser:
        assert json.loads(browser.recv(WAIT_S))["resumed"] is True
        emitted(pipeline, b'{"type":"phaseStarted","phase":"p"}')
        batch = json.loads(browser.recv(WAIT_S))
        assert (batch["type"], batch["seq"]) == ("batch", [4, 4])


def read_to_the_end(browser: ClientConnection) -> tuple[dict[str, Any] | None, dict[int, bytes]]:
    """Return (the snapshot, seq -> the event), up to the terminal one; there is no hole but for merging."""
    snapshot = None
    events: dict[int, bytes] = {}
    due = 1
    while True:
        message = json.loads(browser.recv(WAIT_S))
        if message["type"] == "snapshot":
            snapshot, due = message, message["seq"] + 1
        if message["type"] != "batch":
            continue
        first, last = message["seq"]
        assert first == due
        due = last + 1
        for offset, event in zip(
            message.get("at") or range(last - first + 1), message["events"], strict=True
        ):
            events[first + offset] = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        if message["events"][-1]["type"] == "scanCompleted":
            return snapshot, events


def test_a_scan_that_stalls_says_so_and_goes_on(started: Any) -> None:
    pipeline = started(WATCHED)
    with connect(pipeline.ws("/ws/scans/demo?since=start")) as browser:
        with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted"})
            emitter.flush(WAIT_S)
            assert types(browser, 2) == ["scanStarted", "scanStalled"]
            assert pipeline.get("/api/scans/demo")[1]["status"] == "stalled"
            emitter.emit({"type": "scanCompleted"})
        assert types(browser, 2) == ["scanResumed", "scanCompleted"]
    assert pipeline.get("/api/scans/demo")[1]["status"] == "completed"


def test_a_scan_whose_producer_is_gone_fails_at_last_and_only_once(started: Any) -> None:
    """A producer that is closed has said bye, and is waited for; one that sends nothing any more is not."""
    pipeline = started(ORPHANED)
    emitted(pipeline, b'{"type":"scanStarted"}', scan_id="polite")
    with connect(pipeline.ws("/ws/scans/demo?since=start")) as browser:
        emitter = Emitter("demo", run_dir=str(pipeline.run_dir))
        emitter.emit({"type": "scanStarted"})
        emitter.flush(WAIT_S)
        emitter._uplink._give_sign = lambda *_: None  # as if the process was gone
        assert types(browser, 3) == ["scanStarted", "scanOrphaned", "error"]
        emitter.emit({"type": "scanCompleted"})
        emitter.flush(WAIT_S)
        assert [rejected.reason for rejected in emitter.rejected()] == ["after_terminal"]
        emitter.close()
    assert pipeline.get("/api/scans/demo")[1]["status"] == "failed"
    assert pipeline.get("/api/scans/polite")[1]["status"] == "running"
    assert pipeline.get("/api/scans/polite")[1]["producers"] == 0


def types(browser: ClientConnection, count: int) -> list[str]:
    """Return the types of the next events."""
    found: list[str] = []
    while len(found) < count:
        found += [event["type"] for event in json.loads(browser.recv(WAIT_S)).get("events", [])]
    return found


def eventually(is_so: Any) -> bool:
    end = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not is_so():
        if time.monotonic() > end:
            return False
        pause.wait(0.05)
    return True
