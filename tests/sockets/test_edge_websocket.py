"""The edge with real browsers on one side, and workers played by the test on the other."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from pipeline.frame import Frame
from pipeline.wire import (
    PING,
    SUBPROTOCOL,
    Head,
    HeadRequest,
    PageHeader,
    PageRequest,
    StateRequest,
    encode,
    encode_frame,
    encode_page,
)
from tests.harness import PATIENCE, private_dir
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers, answer, receive
from tests.unit.edge.worker_model import CHANNEL, Worker, event

Start = Callable[..., tuple[Edge, PlayedWorkers]]

QUICK = "[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 0.2\n"
"""Who is silent is closed at once; only for tests in which nobody has to answer in time."""
PATIENT = "[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 60.0\n"


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Edge, PlayedWorkers]]:
    """Give an edge for tests that leave no trace in it; its workers are played by the test."""
    with private_dir() as place, Peers(place) as peers:
        edge = Edge(place)
        try:
            yield edge, PlayedWorkers(peers, 1)
        finally:
            edge.close()


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Give a function that starts an edge whose workers the test plays."""
    edges: list[Edge] = []
    with Peers(run_dir) as peers:

        def begin(toml: str = "", shards: int = 1) -> tuple[Edge, PlayedWorkers]:
            edges.append(Edge(run_dir, toml, shards))
            return edges[-1], PlayedWorkers(peers, shards)

        try:
            yield begin
        finally:
            for edge in edges:
                edge.close()


def told(browser: ClientConnection) -> dict[str, Any]:
    """Return the next message to a browser."""
    message = json.loads(browser.recv(timeout=WAIT_S * PATIENCE))
    assert isinstance(message, dict)
    return message


def closed(browser: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """Read to the end; return (the messages before it, the close code, the reason)."""
    messages = []
    try:
        while True:
            messages.append(told(browser))
    except ConnectionClosed as error:
        frame = error.rcvd
    assert frame is not None, f"ended without a close frame, after {messages}"
    return messages, frame.code, frame.reason


def answer_one(workers: PlayedWorkers, model: Worker) -> HeadRequest | PageRequest | StateRequest:
    """Answer the edge's next question as a worker would."""
    shard, peer, request = workers.question()
    if isinstance(request, HeadRequest):
        workers.answer(shard, peer, encode(model.head(request)))
    elif isinstance(request, StateRequest):
        state = model.state(request)
        workers.answer(shard, peer, encode(state.header) + b"\n" + state.body)
    else:
        assert isinstance(request, PageRequest)
        page = model.page(request)
        events = [event(request.epoch, seq) for seq in range(page.header.first, page.header.last + 1)]
        workers.answer(shard, peer, encode_page(page.header, events))
    assert isinstance(request, HeadRequest | PageRequest | StateRequest)
    return request


def answer_head(workers: PlayedWorkers, model: Worker) -> None:
    """Answer a question for a channel's head, and what is asked before it; a state is asked for at once."""
    while not isinstance(answer_one(workers, model), HeadRequest):
        pass


def publish(workers: PlayedWorkers, model: Worker, count: int, *, lost: bool = False) -> None:
    """Publish a frame of so many events, or lose it on the way."""
    frame = model.publish(count)
    if not lost:
        workers.see_joined(frame.channel)
        header = encode(frame.header)
        workers.publish(frame.channel, b"F|%b|%b\n%b" % (frame.channel.encode(), header, frame.body))


def batch(browser: ClientConnection) -> tuple[int, int, int]:
    """Return (epoch, first, last) of the next message, which is a batch of exactly these events."""
    message = told(browser)
    assert message["type"] == "batch", message
    epoch, (first, last) = message["epoch"], message["seq"]
    assert message["events"] == [json.loads(event(epoch, seq)) for seq in range(first, last + 1)]
    return epoch, first, last


# --- joining and following ----------------------------------------------------------------------------


def test_a_late_browser_gets_hello_what_was_and_what_comes(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    model.publish(5)
    with edge.browser("/ws/scans/demo?since=start", subprotocols=[SUBPROTOCOL]) as browser:
        assert browser.subprotocol == SUBPROTOCOL
        workers.joined(CHANNEL)
        assert answer_one(workers, model) == HeadRequest(1, CHANNEL, None)
        hello = told(browser)
        assert (hello["type"], hello["scan_id"], hello["epoch"], hello["seq"], hello["resumed"]) == (
            "hello",
            "demo",
            1,
            5,
            None,
        )
        assert isinstance(answer_one(workers, model), PageRequest)
        assert batch(browser) == (1, 1, 5)
        publish(workers, model, 3)
        assert batch(browser) == (1, 6, 8)
        assert workers.unasked() == []
    workers.left(CHANNEL)


def test_a_gap_is_asked_for_once_for_all_browsers(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with ExitStack() as stack:
        browsers = [stack.enter_context(edge.browser("/ws/scans/demo?since=start")) for _ in range(20)]
        for _ in browsers:
            assert isinstance(answer_one(workers, model), HeadRequest)
        assert [told(browser)["type"] for browser in browsers] == ["hello"] * 20
        publish(workers, model, 2)
        publish(workers, model, 3, lost=True)
        publish(workers, model, 1)
        assert [batch(browser) for browser in browsers] == [(1, 1, 2)] * 20
        request = answer_one(workers, model)
        assert isinstance(request, PageRequest)
        assert (request.epoch, request.first) == (1, 3)
        assert [batch(browser) for browser in browsers] == [(1, 3, 6)] * 20
        publish(workers, model, 1)
        assert [batch(browser) for browser in browsers] == [(1, 7, 7)] * 20
        assert workers.unasked() == []
    assert edge.stop()["pages"] == 1


def test_a_lost_tail_is_found_by_a_beacon(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 2, lost=True)
        workers.beacon(0, [Head(CHANNEL, 1, 2, False)])
        answer_one(workers, model)
        assert batch(browser) == (1, 1, 2)


def test_a_returning_browser_goes_on_where_it_was(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    model.publish(10)
    with edge.browser("/ws/scans/demo?since=1:7") as browser:
        assert answer_one(workers, model) == HeadRequest(1, CHANNEL, 1)
        assert told(browser)["resumed"] is True
        answer_one(workers, model)
        assert batch(browser) == (1, 8, 10)
    with edge.browser("/ws/scans/demo?since=1:11") as browser:
        answer_one(workers, model)
        assert told(browser)["resumed"] is False
        answer_one(workers, model)
        assert told(browser) == snapshot(1, 10)


def snapshot(epoch: int, seq: int) -> dict[str, Any]:
    """The model's state at an event, as a browser is told it."""
    state = {"at": [epoch, seq]}
    return {"type": "snapshot", "scan_id": "demo", "epoch": epoch, "seq": seq, "state": state}


def test_late_browsers_get_the_state_asked_once_for_all_and_what_follows_it(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    model.publish(10)
    model.commit(2)
    with ExitStack() as stack:
        browsers = [stack.enter_context(edge.browser("/ws/scans/demo")) for _ in range(20)]
        heads: set[int] = set()
        states: list[tuple[int, bytes, StateRequest]] = []
        while len(heads) < len(browsers) or not states:
            shard, peer, request = workers.question()
            if isinstance(request, StateRequest):
                states.append((shard, peer, request))
                continue
            assert isinstance(request, HeadRequest)
            heads.add(request.id)
            workers.answer(shard, peer, encode(model.head(request)))
        edge.get("/healthz")
        shard, peer, request = states[0]
        assert request == StateRequest(request.id, CHANNEL, None)
        again = [asked for _, _, asked in states[1:]] + workers.unasked()
        assert {each.id for each in again} <= {request.id}, "asked once for all, with their heads"
        state = model.state(request)
        workers.answer(shard, peer, encode(state.header) + b"\n" + state.body)
        for browser in browsers:
            assert told(browser)["type"] == "hello"
            assert told(browser) == snapshot(1, 12)
        workers.joined(CHANNEL)
        publish(workers, model, 5)
        answer_one(workers, model)
        for browser in browsers:
            assert batch(browser) == (1, 13, 15)
        publish(workers, model, 1)
        for browser in browsers:
            assert batch(browser) == (1, 16, 16)


def test_what_is_not_held_any_more_is_told(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    model.publish(10)
    with edge.browser("/ws/scans/demo?since=1:2") as browser:
        answer_one(workers, model)
        told(browser)
        model.trim(6)
        answer_one(workers, model)
        assert told(browser) == {
            "type": "lag",
            "scanId": "demo",
            "skippedMessages": 4,
            "from": 3,
            "to": 6,
            "reason": "no_longer_held",
        }
        assert batch(browser) == (1, 7, 10)


def test_a_new_life_is_told_by_reset_behind_the_old_ones_end(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 2)
        assert batch(browser) == (1, 1, 2)
        publish(workers, model, 3, lost=True)
        model.begin()
        publish(workers, model, 1)
        answer_one(workers, model)
        assert batch(browser) == (1, 3, 5)
        answer_one(workers, model)
        assert told(browser) == {"type": "reset", "scan_id": "demo", "epoch": 2, "reason": "restarted"}
        assert batch(browser) == (2, 1, 1)


def test_a_worker_that_forgot_everything_is_not_asked_without_end(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 2)
        assert batch(browser) == (1, 1, 2)
        publish(workers, model, 3, lost=True)
        publish(workers, model, 1)
        model.restart()
        answer_one(workers, model)
        edge.get("/healthz")
        edge.get("/healthz")  # by now the edge would have asked again
        assert workers.unasked() == []
        publish(workers, model, 1)
        answer_one(workers, model)
        assert told(browser) == {"type": "reset", "scan_id": "demo", "epoch": 2, "reason": "forgotten"}
        assert batch(browser) == (2, 1, 1)


def test_a_browser_may_come_before_the_scan(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        hello = told(browser)
        assert (hello["epoch"], hello["seq"]) == (None, 0)
        publish(workers, model, 1)
        assert batch(browser) == (1, 1, 1)


def test_a_worker_that_answers_late_is_asked_again_and_answers_once(start: Start) -> None:
    edge, workers = start("[upstream]\nanswer_timeout_s = 0.05\n")
    model = Worker()
    with edge.browser("/ws/scans/demo?since=start") as browser:
        questions = [workers.question() for _ in range(3)]
        assert len({request.id for *_, request in questions}) == 1
        shard, peer, request = questions[0]
        assert isinstance(request, HeadRequest)
        for _ in range(2):
            workers.answer(shard, peer, encode(model.head(request)))
        assert told(browser)["type"] == "hello"
        publish(workers, model, 1)
        assert batch(browser) == (1, 1, 1)
    assert edge.stop()["questions_repeated"] >= 2


def test_what_no_worker_sends_is_counted_and_disturbs_nobody(start: Start) -> None:
    edge, workers = start()
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        shard, peer, request = workers.question()
        for rubbish in (
            b"",
            b"{",
            b"\xff",
            b"null",
            b'{"type":"page","id":1}',
            b'{"type":"head","id":99,"channel":"scan/x"}',
        ):
            workers.answer(shard, peer, rubbish)
        assert isinstance(request, HeadRequest)
        workers.answer(shard, peer, encode(model.head(request)))
        told(browser)
        for rubbish in (
            b"F|scan/demo|",
            b"F|scan/demo|{}\n[]",
            b"F|scan/demo|\xff\n[]",
            b"F|scan/demo|null\n",
            b"H|",
            b"H|{",
        ):
            workers.events[0].send(rubbish)
        workers.events[0].send_multipart([b"H|{", b"a second part"])
        publish(workers, model, 2)
        assert batch(browser) == (1, 1, 2)
    counted = edge.stop()
    assert counted["malformed{socket=history}"] == 5
    assert counted["malformed{socket=events}"] == 7


# --- refusals and closes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/ws/scans/stats",
        "/ws/scans/.hidden",
        "/ws/scans/a%2Fb",
        "/ws/scans/%00",
        "/ws/scans/" + "a" * 65,
        "/ws/scans/demo?since=",
        "/ws/scans/demo?since=1",
        "/ws/scans/demo?since=1:x",
        "/ws/scans/demo?since=-1:2",
        "/ws/scans/demo?since=%ff",
        "/api/ws/scans/stats?token=x",
        "/api/ws/reports/.",
    ],
)
def test_a_bad_request_is_closed_4400(standing: tuple[Edge, PlayedWorkers], path: str) -> None:
    edge, workers = standing
    with edge.browser(path) as browser:
        messages, code, reason = closed(browser)
        assert (messages, code) == ([], 4400)
        assert reason.startswith("bad request: ")
    assert workers.unasked() == []


def test_refusals_are_counted_by_their_code(start: Start) -> None:
    edge, _ = start()
    for path, headers, code in (
        ("/ws/scans/stats", {}, 4400),
        ("/api/ws/scans/.", {}, 4400),
        ("/ws/scans/demo", {"Origin": "http://evil.com"}, 4403),
        ("/ws/scans/demo", {"Sec-WebSocket-Protocol": "mqtt"}, 4406),
    ):
        with edge.raw(path, headers) as browser:
            assert browser.until_close()[1] == code
    with edge.raw("/ws/scans/demo?since=start", {"Host": "evil.com"}) as browser:
        assert browser.status == 403
    line = edge.process.wait_for("refused", reason="4403")
    assert (line["path"], line["wire"]) == ("/ws/scans/demo", "native")
    counted = edge.stop()
    assert {name: count for name, count in counted.items() if name.startswith("refused")} == {
        "refused{reason=4400}": 2,
        "refused{reason=4403}": 1,
        "refused{reason=4406}": 1,
        "refused{reason=host}": 1,
    }


def test_another_subprotocol_is_closed_4406(start: Start) -> None:
    edge, _ = start()
    with edge.raw("/ws/scans/demo?since=start", {"Sec-WebSocket-Protocol": "graphql-ws, mqtt"}) as browser:
        assert browser.until_close() == ([], 4406, "unsupported protocol")
    with edge.browser("/ws/scans/demo?since=start", subprotocols=["mqtt", SUBPROTOCOL]) as browser:
        assert browser.subprotocol == SUBPROTOCOL


@pytest.mark.parametrize("path", ["/ws/scans/demo", "/api/ws/scans/demo?token=x", "/api/ws/reports/r"])
@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://localhost:{port}", "http://[::1"])
def test_a_page_elsewhere_is_closed_4403_and_gets_no_other_byte(
    standing: tuple[Edge, PlayedWorkers], path: str, origin: str
) -> None:
    edge, workers = standing
    with edge.raw(path, {"Origin": origin.format(port=edge.port)}) as browser:
        assert browser.status == 101
        assert browser.until_close() == ([], 4403, "origin not allowed")
        assert browser.after_close() == b""
    assert workers.unasked() == []


def test_our_own_page_is_served(start: Start) -> None:
    edge, workers = start()
    with edge.browser("/ws/scans/demo?since=start", origin=f"http://127.0.0.1:{edge.port}") as browser:
        answer_one(workers, Worker())
        assert told(browser)["type"] == "hello"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.com"},
        {"Host": "127.0.0.1.evil.com"},
        {"Host": "127.0.0.\xb2"},
        {"Host": "[::1]evil.com"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
def test_a_foreign_host_or_a_proxy_is_refused_before_the_upgrade(
    standing: tuple[Edge, PlayedWorkers], headers: dict[str, str]
) -> None:
    edge, _ = standing
    with edge.raw("/ws/scans/demo?since=start", headers) as browser:
        assert browser.status in {400, 403}
    assert edge.get("/healthz")[0] == 200


def test_past_the_connections_there_may_be_a_further_one_is_closed_4029(start: Start) -> None:
    edge, workers = start("[limits]\nmax_connections = 2\n")
    model = Worker()
    with edge.browser("/ws/scans/a?since=start") as one, edge.browser("/ws/scans/b?since=start"):
        with edge.browser("/ws/scans/c?since=start") as third:
            assert closed(third) == ([], 4029, "too many connections")
        answer_one(workers, model)
        answer_one(workers, model)
        one.close()
        edge.process.wait_for("disconnected", channel="scan/a")
        with edge.browser("/ws/scans/c?since=start") as third:
            answer_one(workers, model)
            assert told(third)["type"] == "hello"


def test_only_so_many_of_one_address_wait_and_not_for_ever(start: Start) -> None:
    edge, workers = start(PATIENT + "[limits]\nmax_waiting = 1\nwaiting_s = 0.3\n")
    model = Worker()
    with edge.browser("/ws/scans/early?since=start") as first:
        answer_one(workers, model)
        assert told(first)["type"] == "hello"
        with edge.browser("/ws/scans/earlier?since=start") as second:
            answer_one(workers, model)
            messages, code, reason = closed(second)
            assert [message["type"] for message in messages] == ["hello", "closing"]
            assert (code, reason) == (4029, "too many connections")
            assert messages[1]["reconnect"] is True
        messages, code, reason = closed(first)
        assert messages == [
            {"type": "closing", "code": 4404, "reason": "no such scan", "reconnect": False, "retry_ms": 0}
        ]
        assert (code, reason) == (4404, "no such scan")
    with edge.browser("/ws/scans/late?since=start") as third:  # nobody waits any more
        answer_one(workers, model)
        assert told(third)["type"] == "hello"


def test_a_scan_that_begins_ends_the_waiting(start: Start) -> None:
    edge, workers = start(PATIENT + "[limits]\nmax_waiting = 1\nwaiting_s = 0.3\n")
    model = Worker()
    with edge.browser("/ws/scans/demo?since=start") as first:
        answer_one(workers, model)
        told(first)
        publish(workers, model, 1)
        assert batch(first) == (1, 1, 1)
        with edge.browser("/ws/scans/other?since=start") as second:  # there is room to wait again
            answer_one(workers, Worker())
            assert told(second)["type"] == "hello"
            assert closed(second)[1] == 4404
        publish(workers, model, 1)  # the first is still there
        assert batch(first) == (1, 2, 2)


# --- heartbeat and slow browsers ----------------------------------------------------------------------


def test_a_browser_that_never_pongs_is_closed_4009_and_one_that_does_is_not(start: Start) -> None:
    edge, workers = start("[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 1.5\n")
    model = Worker()
    with edge.browser("/ws/scans/demo?since=start") as alive, edge.raw("/ws/scans/demo?since=start") as dead:
        answer_one(workers, model)
        answer_one(workers, model)
        told(alive)
        before, code, reason = dead.until_close()
        assert (code, reason) == (4009, "no pong")
        assert [opcode for opcode, _ in before].count(0x9) >= 2, "it was pinged"
        texts = [json.loads(payload) for opcode, payload in before if opcode == 0x1]
        assert [message["type"] for message in texts] == ["hello", "closing"]
        assert (texts[1]["code"], texts[1]["reconnect"]) == (4009, True)
        publish(workers, model, 1)
        assert batch(alive) == (1, 1, 1)
    assert edge.process.wait_for("disconnected", code=4009)["messages"] == 2
    assert edge.stop()["closed{code=4009}"] == 1


@pytest.mark.parametrize("opcode", [0x1, 0x9, 0xA])
def test_any_frame_is_a_sign_of_life(start: Start, opcode: int) -> None:
    edge, workers = start("[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 1.0\n")
    with edge.raw("/ws/scans/demo?since=start") as browser:
        answer_one(workers, Worker())
        pings = 0
        while pings < 40:  # a ping comes every 50 ms; a silent browser is closed after 1 s
            frame = browser.frame()
            assert frame is not None
            assert frame[0] != 0x8, frame
            if frame[0] == 0x9:
                pings += 1
                browser.send(opcode, b"x")


def test_a_ping_of_a_browser_is_answered_on_our_wire_alone(start: Start) -> None:
    """A page cannot see the edge's own pings, so it may ask."""
    edge, workers = start()
    model = Worker()
    with edge.browser("/ws/scans/demo") as ours, edge.browser("/api/ws/scans/demo") as theirs:
        answer_head(workers, model)
        answer_head(workers, model)
        told(ours)
        for message in (PING, '{"action":"later"}', "rubbish", PING):
            ours.send(message)
            theirs.send(message)
        assert [told(ours)["type"] for _ in range(4)] == ["pong", "error", "error", "pong"]
        publish(workers, model, 1)
        assert batch(ours) == (1, 1, 1)
        types = [told(theirs)["type"], told(theirs)["type"]]
        assert types == ["error", "note"], "that it waits for the scan, then the scan's event"
    assert edge.stop()["inbound_messages"] == 8


def test_a_browser_that_does_not_answer_its_close_keeps_no_other_from_being_pinged(start: Start) -> None:
    edge, workers = start(QUICK)
    model = Worker()
    model.publish(1)
    with edge.raw("/ws/scans/demo?since=1:1") as rude:
        answer_one(workers, model)
        rude.frame()
        workers.beacon(0, gone=[(CHANNEL, 1)])
        assert rude.until_close()[1] == 1000
        with edge.raw("/ws/scans/other?since=start") as dead:
            answer_one(workers, Worker())
            assert dead.until_close()[1] == 4009
        assert rude.frame() is None, "something follows the close frame"


def test_one_that_never_reads_is_closed_4008_and_another_gets_everything(start: Start) -> None:
    edge, workers = start(PATIENT + "[limits]\nstalled_s = 0.3\nkernel_buffer_bytes = 16384\n")

    body = b'{"type":"x","pad":"' + b"." * 30_000 + b'"}'
    model = Worker()
    with (
        edge.browser("/ws/scans/demo?since=start") as good,
        edge.raw("/ws/scans/demo?since=start", receive_buffer=4_096) as bad,
    ):
        answer_one(workers, model)
        answer_one(workers, model)
        told(good)
        workers.see_joined(CHANNEL)
        for seq in range(1, 101):
            workers.publish(CHANNEL, encode_frame(Frame(CHANNEL, 1, seq, seq, (body,))))
            assert told(good)["seq"] == [seq, seq]
        edge.process.wait_for("disconnected", code=4008)
        texts = 0
        while True:
            try:
                frame = bad.frame()
            except (AssertionError, ConnectionError):
                break  # it was cut off inside a frame
            if frame is None or frame[0] == 0x8:
                break
            texts += frame[0] == 0x1
        assert texts < 90, "what waits for it is bounded"
        workers.publish(CHANNEL, encode_frame(Frame(CHANNEL, 1, 101, 101, (body,))))
        assert told(good)["seq"] == [101, 101]
    assert edge.stop()["closed{code=4008}"] == 1


def test_one_that_pauses_is_given_what_it_missed(start: Start) -> None:
    edge, workers = start("[limits]\nkernel_buffer_bytes = 16384\n[ring]\nmax_frames = 5\n")

    pad = b"." * 30_000
    events = {seq: b'{"type":"x","n":%d,"pad":"%b"}' % (seq, pad) for seq in range(1, 101)}
    model = Worker()
    with (
        edge.browser("/ws/scans/demo?since=start") as good,
        edge.raw("/ws/scans/demo?since=start", receive_buffer=4_096) as slow,
    ):
        answer_one(workers, model)
        answer_one(workers, model)
        told(good)
        workers.see_joined(CHANNEL)
        for seq, raw in events.items():
            workers.publish(CHANNEL, encode_frame(Frame(CHANNEL, 1, seq, seq, (raw,))))
            assert told(good)["seq"] == [seq, seq]
        next_seq, pages = 1, 0
        while next_seq <= 100:
            if workers.history[0].poll(0):
                shard, peer, request = workers.question()
                assert isinstance(request, PageRequest)
                last = min(100, request.first + 7)
                header = PageHeader(request.id, CHANNEL, 1, request.first, last, 100, True, 1)
                workers.answer(
                    shard, peer, encode_page(header, [events[seq] for seq in range(request.first, last + 1)])
                )
                pages += 1
            if not slow.arrived():
                continue
            frame = slow.frame()
            assert frame is not None
            message = json.loads(frame[1]) if frame[0] == 0x1 else {}
            if message.get("type") == "batch":
                first, last = message["seq"]
                assert first == next_seq
                assert [each["n"] for each in message["events"]] == list(range(first, last + 1))
                next_seq = last + 1
        assert pages > 0


def test_an_inbound_message_over_the_limit_closes_only_its_sender(start: Start) -> None:
    edge, workers = start()
    model = Worker()
    with (
        edge.browser("/ws/scans/demo?since=start") as good,
        edge.browser("/ws/scans/demo?since=start") as large,
    ):
        answer_one(workers, model)
        answer_one(workers, model)
        told(good)
        told(large)
        large.send("x" * 16_384)
        assert told(large)["type"] == "error"
        publish(workers, model, 1)
        assert batch(large) == (1, 1, 1), "so much is allowed"
        large.send("x" * 16_385)
        assert closed(large)[1:] == (1009, "message too large")
        publish(workers, model, 1)
        assert [batch(good), batch(good)] == [(1, 1, 1), (1, 2, 2)]
    assert edge.stop()["inbound_messages"] == 1


@pytest.mark.parametrize("rubbish", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_websocket_frame_ends_only_its_connection(start: Start, rubbish: bytes) -> None:
    edge, workers = start()
    model = Worker()
    with edge.browser("/ws/scans/demo?since=start") as good, edge.raw("/ws/scans/demo?since=start") as bad:
        answer_one(workers, model)
        answer_one(workers, model)
        told(good)
        bad.socket.sendall(rubbish)
        edge.process.wait_for("disconnected")
        publish(workers, model, 1)
        assert batch(good) == (1, 1, 1)


# --- compression --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/scans/demo", "/api/ws/scans/demo"])
def test_large_messages_are_compressed_for_those_who_offer_it(start: Start, path: str) -> None:
    edge, workers = start("[compression]\nmin_bytes = 100\n")
    model = Worker()
    model.publish(1)
    with (
        edge.browser(path, compression="deflate") as browser,
        edge.raw(path, {"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=10"}) as raw,
        edge.raw(path) as plain,
    ):
        (extension,) = browser.protocol.extensions
        assert extension.name == "permessage-deflate"
        (answered,) = (line for line in raw.head.lower().splitlines() if "extensions" in line)
        assert set(answered.partition(": ")[2].split("; ")) == {
            "permessage-deflate",
            "client_no_context_takeover",
            "server_max_window_bits=10",
        } | ({"server_no_context_takeover"} if path.startswith("/api") else set())
        assert "extensions" not in plain.head.lower()
        for _ in range(3):
            answer_one(workers, model)
        if path.startswith("/ws"):
            answer_one(workers, model)
            for _ in range(2):
                told(browser)
                assert raw.frame() is not None
                assert plain.frame() is not None
        workers.see_joined(CHANNEL)
        pad = b'{"type":"x","pad":"' + b"a" * 5_000 + b'"}'
        workers.publish(CHANNEL, encode_frame(Frame(CHANNEL, 1, 2, 2, (pad,))))
        packed, whole = raw.frame(), plain.frame()
        assert packed is not None
        assert whole is not None
        assert len(packed[1]) < 200 < len(whole[1])
        assert zlib.decompressobj(-10).decompress(packed[1] + b"\x00\x00\xff\xff") == whole[1]
        assert told(browser) == json.loads(whole[1])
        browser.send("x" * 10_000)
        workers.publish(CHANNEL, encode_frame(Frame(CHANNEL, 1, 3, 3, (b"{}",))))
        told(browser)
        edge.get("/healthz")
    assert edge.stop()["inbound_messages"] == 1


def test_browsers_that_keep_their_window_read_on_whoever_joins_or_asks_meanwhile(start: Start) -> None:
    edge, workers = start("[compression]\nmin_bytes = 0\n")
    model = Worker(page_events=100)
    head = 0
    with ExitStack() as stack:
        browsers: list[ClientConnection] = []
        for _ in range(3):
            browser = edge.browser(f"/ws/scans/demo?since=1:{head}", compression="deflate")
            browsers.append(stack.enter_context(browser))
            assert isinstance(answer_one(workers, model), HeadRequest)
            assert told(browser)["type"] == "hello"
            for _ in range(4):
                publish(workers, model, 3)
                head += 3
                for each in browsers:
                    assert batch(each)[1:] == (head - 2, head)
            browsers[0].send('{"action":"ping"}')
            assert told(browsers[0])["type"] == "pong"


def test_what_inflates_past_the_limit_ends_its_connection_alone(start: Start) -> None:
    edge, workers = start()
    model = Worker()
    with (
        edge.browser("/ws/scans/demo?since=start") as good,
        edge.browser("/ws/scans/demo?since=start", compression="deflate") as bad,
    ):
        answer_one(workers, model)
        answer_one(workers, model)
        told(good)
        told(bad)
        bad.send("x" * 1_000_000)
        assert closed(bad)[1:] == (1009, "message too large")
        publish(workers, model, 1)
        assert batch(good) == (1, 1, 1)
    assert edge.stop().get("inbound_messages", 0) == 0


def test_no_compression_when_it_is_off_or_the_offer_cannot_be_met(start: Start) -> None:
    edge, _ = start("[compression]\nenabled = false\n")
    with edge.browser("/ws/scans/demo?since=start", compression="deflate") as browser:
        assert browser.protocol.extensions == []


def test_an_offer_that_cannot_be_met_is_passed_over(standing: tuple[Edge, PlayedWorkers]) -> None:
    offers = "permessage-deflate; server_max_window_bits=8, x-foo, permessage-deflate; frobnicate"
    with standing[0].raw("/ws/scans/demo", {"Sec-WebSocket-Extensions": offers}) as browser:
        assert browser.status == 101
        assert "extensions" not in browser.head.lower()


# --- ends ---------------------------------------------------------------------------------------------


def test_each_connection_is_accounted_for_when_it_ends(start: Start) -> None:
    edge, workers = start()
    model = Worker()
    with edge.raw("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        received = 0
        for _ in range(3):
            publish(workers, model, 2)
        for _ in range(4):  # hello and three batches
            frame = browser.frame()
            assert frame is not None
            received += len(frame[1]) + (2 if len(frame[1]) < 126 else 4)
        browser.send(0x8, (1000).to_bytes(2, "big"))
        line = edge.process.wait_for("disconnected")
    assert (line["channel"], line["wire"], line["code"], line["messages"]) == (CHANNEL, "native", 1000, 4)
    assert line["bytes"] == received
    assert isinstance(line["duration_s"], float)
    counted = edge.stop()
    assert (counted["messages_sent"], counted["bytes_sent"]) == (4, received)
    assert (counted["connections{wire=native}"], counted["closed{code=1000}"]) == (1, 1)


def test_an_edge_that_stops_says_so_and_says_to_come_back(start: Start) -> None:
    edge, workers = start()
    with (
        edge.browser("/ws/scans/demo?since=start") as browser,
        edge.browser("/ws/scans/demo?since=start") as unanswered,
    ):
        answer_one(workers, Worker())
        told(browser)
        edge.process.popen.terminate()
        messages, code, reason = closed(browser)
        assert (code, reason) == (4000, "draining")
        assert [message["type"] for message in messages] == ["closing"]
        assert messages[0]["reconnect"] is True
        assert 0 <= messages[0]["retry_ms"] < 2_000
        assert closed(unanswered)[1] == 4000
        assert edge.process.wait() == 0


def test_an_answer_that_comes_after_the_close_is_not_sent(start: Start) -> None:
    edge, workers = start()
    with edge.raw("/ws/scans/demo?since=start") as browser:
        shard, peer, request = workers.question()
        assert isinstance(request, HeadRequest)
        edge.process.popen.terminate()
        before, code, _ = browser.until_close()
        assert ([json.loads(payload)["type"] for opcode, payload in before if opcode == 0x1], code) == (
            ["closing"],
            4000,
        )
        workers.answer(shard, peer, encode(Worker().head(request)))
        assert edge.process.wait() == 0
        assert browser.frame() is None


def test_a_channel_that_is_cleaned_up_closes_its_browsers(start: Start) -> None:
    edge, workers = start()
    model = Worker()
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 1)
        assert batch(browser) == (1, 1, 1)
        workers.beacon(0, gone=[(CHANNEL, 0)])  # an older life: nothing to this browser
        publish(workers, model, 1)
        assert batch(browser) == (1, 2, 2)
        workers.beacon(0, gone=[(CHANNEL, 1)])
        messages, code, reason = closed(browser)
        assert (code, reason) == (1000, "Scan completed")
        assert messages[0]["reconnect"] is False
    for socket in workers.events:
        receive(socket, lambda raw: raw == b"\x00F|scan/demo|")
    with edge.request("/api/scans") as sent:
        workers.answer_channels([])
        assert answer(sent) == (200, {"scans": [], "complete": True})
