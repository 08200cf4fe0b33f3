"""HeroForge's WebSockets as its frontend uses them: one event object a message, live only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from pipeline.frame import Frame
from pipeline.wire import (
    Head,
    HeadReply,
    HeadRequest,
    PageHeader,
    PageRequest,
    encode,
    encode_frame,
    encode_page,
)
from tests.harness import PATIENCE
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers

Start = Callable[[], tuple[Edge, PlayedWorkers]]

EVENTS = [
    b'{"type":"scanStarted","timestamp":"2024-01-01T00:00:00Z"}',
    b'{"type":"hostDiscovered","ip":"10.0.0.5","hostname":null}',
    b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}',
    b'{"type":"serviceDetected","ip":"10.0.0.5","port":443,"service_name":"https","version":"\xc3\xa9"}',
    b'{"type":"vulnerabilityFound","ip":"10.0.0.5","cve_id":"CVE-2024-1","severity":"High","title":"t"}',
    b'{"type":"scanProgress","phase":"ports","progress":12.5,"message":null}',
    b'{"type":"scanCompleted","duration":1.5,"total_hosts":1}',
]


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Give a function that starts an edge whose workers the test plays."""
    edges: list[Edge] = []
    with Peers(run_dir) as peers:

        def begin() -> tuple[Edge, PlayedWorkers]:
            edges.append(Edge(run_dir))
            return edges[-1], PlayedWorkers(peers, 1)

        try:
            yield begin
        finally:
            for edge in edges:
                edge.close()


def text(browser: ClientConnection) -> str:
    message = browser.recv(timeout=WAIT_S * PATIENCE)
    assert isinstance(message, str), "HeroForge's frontend parses text"
    return message


def object_(browser: ClientConnection) -> dict[str, Any]:
    message = json.loads(text(browser))
    assert isinstance(message, dict)
    return message


def join(workers: PlayedWorkers, channel: str, epoch: int | None, seq: int = 0) -> None:
    """Answer the edge's question how far a channel is, and wait until it hears of the channel."""
    shard, peer, request = workers.question()
    assert request == HeadRequest(request.id, channel, None)
    workers.answer(shard, peer, encode(HeadReply(request.id, channel, epoch, seq, 1)))
    workers.see_joined(channel)  # what is published before is lost


def frame(channel: str, first: int, events: list[bytes], epoch: int = 1) -> bytes:
    return encode_frame(Frame(channel, epoch, first, first + len(events) - 1, tuple(events)))


def test_each_event_is_a_message_of_its_own_just_as_it_was_sent(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo?token=any") as browser:
        join(workers, "scan/demo", 1)
        workers.publish("scan/demo", frame("scan/demo", 1, EVENTS))
        assert [text(browser).encode() for _ in EVENTS] == EVENTS


def test_it_is_live_only(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo") as browser:
        join(workers, "scan/demo", 1, seq=40)
        workers.publish("scan/demo", frame("scan/demo", 39, EVENTS[:2]))  # what was before it joined
        workers.publish("scan/demo", frame("scan/demo", 41, EVENTS[:1]))
        assert object_(browser)["type"] == "scanStarted"
        assert workers.unasked() == []


def test_no_subprotocol_is_asked_for_and_none_is_given(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo", subprotocols=["anything"]) as browser:
        assert browser.subprotocol is None
        join(workers, "scan/demo", 1)
        workers.publish("scan/demo", frame("scan/demo", 1, EVENTS[:1]))
        assert object_(browser)["type"] == "scanStarted"


@pytest.mark.parametrize(
    ("path", "channel", "told"),
    [
        (
            "/api/ws/scans/demo",
            "scan/demo",
            {"type": "error", "message": "Scan channel not found", "scanId": "demo"},
        ),
        (
            "/api/ws/reports/r1",
            "report/r1",
            {"type": "error", "message": "Report channel not found", "reportId": "r1"},
        ),
    ],
)
def test_an_unknown_channel_is_told_and_the_connection_stays_open(
    start: Start, path: str, channel: str, told: dict[str, str]
) -> None:
    edge, workers = start()
    with edge.browser(path) as browser:
        join(workers, channel, None)
        assert object_(browser) == told
        workers.publish(channel, frame(channel, 1, EVENTS[:1]))
        assert object_(browser)["type"] == "scanStarted"


def test_what_is_lost_on_the_way_is_fetched_and_what_is_gone_is_told_as_lag(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo") as browser:
        join(workers, "scan/demo", 1, seq=1)
        workers.publish("scan/demo", frame("scan/demo", 5, EVENTS[4:5]))
        shard, peer, request = workers.question()
        assert isinstance(request, PageRequest)
        assert (request.epoch, request.first) == (1, 2)
        header = PageHeader(request.id, "scan/demo", 1, 4, 5, 5, True, 1)
        workers.answer(shard, peer, encode_page(header, EVENTS[3:5]))
        assert object_(browser) == {"type": "lag", "skippedMessages": 2, "scanId": "demo"}
        assert [text(browser).encode() for _ in range(2)] == EVENTS[3:5]
    assert edge.process.wait_for("disconnected")["skipped"] == 2


def test_a_new_life_goes_on_without_a_word_of_ours(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo") as browser:
        join(workers, "scan/demo", 1, seq=6)
        workers.publish("scan/demo", frame("scan/demo", 7, EVENTS[-1:]))
        assert object_(browser)["type"] == "scanCompleted"
        workers.publish("scan/demo", frame("scan/demo", 1, EVENTS[:2], epoch=2))
        shard, peer, request = workers.question()
        assert isinstance(request, PageRequest)
        assert (request.epoch, request.first) == (1, 8)
        header = PageHeader(request.id, "scan/demo", 1, 8, 7, 7, True, 2)
        workers.answer(shard, peer, encode_page(header, []))
        assert [text(browser).encode() for _ in range(2)] == EVENTS[:2]


@pytest.mark.parametrize(
    ("path", "channel", "reason"),
    [
        ("/api/ws/scans/demo", "scan/demo", "Scan completed"),
        ("/api/ws/reports/demo", "report/demo", "Report completed"),
    ],
)
def test_it_stays_open_after_the_end_and_is_closed_when_the_channel_is_cleaned_up(
    start: Start, path: str, channel: str, reason: str
) -> None:
    edge, workers = start()
    with edge.browser(path) as browser:
        join(workers, channel, 1)
        workers.publish(channel, frame(channel, 1, EVENTS[-1:]))
        assert object_(browser)["type"] == "scanCompleted"
        workers.beacon(0, [Head(channel, 1, 1, True)])
        workers.publish(channel, frame(channel, 2, EVENTS[1:2]))
        assert object_(browser)["type"] == "hostDiscovered"
        workers.beacon(0, gone=[(channel, 1)])
        with pytest.raises(ConnectionClosed) as closed:
            text(browser)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, reason)


def test_scans_and_reports_of_one_name_do_not_meet(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/x") as scan, edge.browser("/api/ws/reports/x") as report:
        join(workers, "scan/x", 1)
        join(workers, "report/x", 1)
        workers.publish("report/x", frame("report/x", 1, EVENTS[1:2]))
        workers.publish("scan/x", frame("scan/x", 1, EVENTS[2:3]))
        assert object_(report)["type"] == "hostDiscovered"
        assert object_(scan)["type"] == "portFound"


def test_what_its_frontend_says_is_taken_and_needs_no_answer(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/api/ws/scans/demo") as browser:
        join(workers, "scan/demo", 1)
        browser.send("ping")
        browser.send(b"\x00")
        workers.publish("scan/demo", frame("scan/demo", 1, EVENTS[:1]))
        assert object_(browser)["type"] == "scanStarted"
