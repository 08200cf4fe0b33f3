"""Filters, several scans on one connection, and the statistics: an edge whose workers the test plays."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing as closed_after
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from pipeline.wire import (
    ChannelSummary,
    HeadReply,
    HeadRequest,
    PageHeader,
    PageRequest,
    StateHeader,
    StateRequest,
    encode,
    encode_page,
)
from tests.harness import PATIENCE, next_sent
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers
from tests.unit.edge.test_overview import summary
from tests.unit.edge.worker_model import CHANNEL, Worker, event, kind

Start = Callable[..., tuple[Edge, PlayedWorkers]]

PATIENT = "[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 60.0\n"
SELDOM = "[heartbeat]\ninterval_s = 3600.0\nclient_timeout_s = 7200.0\n"
"""Nobody is told a position because time has passed."""


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
    message = json.loads(browser.recv(timeout=WAIT_S * PATIENCE))
    assert isinstance(message, dict)
    return message


def ask(browser: ClientConnection, **action: object) -> None:
    browser.send(json.dumps(action))


def answer_one(workers: PlayedWorkers, model: Worker) -> HeadRequest | PageRequest:
    """Answer the edge's next question, whatever channel it is of, as a worker of it would."""
    shard, peer, request = workers.question()
    if isinstance(request, HeadRequest):
        workers.answer(shard, peer, encode(model.head(request)))
    else:
        assert isinstance(request, PageRequest)
        page = model.page(request)
        events = [event(request.epoch, seq) for seq in range(page.header.first, page.header.last + 1)]
        workers.answer(shard, peer, encode_page(page.header, events))
    assert isinstance(request, HeadRequest | PageRequest)
    return request


def publish(workers: PlayedWorkers, model: Worker, count: int, channel: str = CHANNEL) -> None:
    frame = model.publish(count)
    workers.see_joined(channel)
    workers.publish(channel, b"F|%b|%b\n%b" % (channel.encode(), encode(frame.header), frame.body))


def passing(first: int, last: int, *kinds: bytes) -> list[Any]:
    """The events a filter of these types leaves, critical ones among them."""
    wanted = {*kinds, b"scanStarted"}
    return [json.loads(event(1, seq)) for seq in range(first, last + 1) if kind(seq) in wanted]


def filtered_batch(browser: ClientConnection, first: int, last: int, *kinds: bytes) -> None:
    message = told(browser)
    assert (message["type"], message["seq"]) == ("batch", [first, last]), message
    assert message["events"] == passing(first, last, *kinds)
    assert len(message["events"]) + message["filtered"] == last - first + 1
    assert [first + offset for offset in message["at"]] == [each["n"] for each in message["events"]]


# --- filters ------------------------------------------------------------------------------------------


def test_a_filter_in_the_address_holds_from_the_first_byte_on(start: Start) -> None:
    edge, workers = start(SELDOM)
    model = Worker(page_events=100)
    model.publish(10)
    with edge.browser("/ws/scans/demo?types=portFound,lost&since=start") as browser:
        answer_one(workers, model)
        assert "filter" in told(browser)["features"]
        answer_one(workers, model)
        filtered_batch(browser, 1, 10, b"portFound")
        publish(workers, model, 1)  # 11, a note
        publish(workers, model, 1)  # 12, scanStarted
        filtered_batch(browser, 11, 12, b"portFound")


def test_a_filter_that_lets_nothing_pass_is_told_how_far_the_scan_is(start: Start) -> None:
    edge, workers = start(PATIENT)
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?types=custom&since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 3)
        message = told(browser)
        assert message["seq"] == [1, 3]
        assert (message["filtered"], message["events"], message["at"]) == (3, [], [])
    with edge.browser("/ws/scans/demo?types=custom&since=1:3") as browser:
        answer_one(workers, model)
        assert told(browser)["resumed"] is True


def test_another_filter_holds_from_the_event_it_says(start: Start) -> None:
    edge, workers = start(SELDOM)
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 3)
        assert told(browser)["filtered"] == 0
        ask(browser, action="filter", types=["portFound"], cidr="10.0.0.7/8")
        assert told(browser) == {
            "type": "filter",
            "scan_id": "demo",
            "epoch": 1,
            "from": 4,
            "filter": {"types": ["portFound"], "cidr": ["10.0.0.0/8"]},
        }
        publish(workers, model, 7)
        filtered_batch(browser, 4, 10, b"portFound")
        publish(workers, model, 1)  # 11, a note: owed when the filter goes
        edge.get("/healthz")
        ask(browser, action="filter")
        message = told(browser)
        if message["type"] == "batch":  # it is told of with the filter that left it out
            assert (message["seq"], message["filtered"]) == ([11, 11], 1)
            message = told(browser)
        first = message["from"]
        assert (message["type"], message["filter"]) == ("filter", None)
        publish(workers, model, 1)
        while first <= 12:
            message = told(browser)
            assert (message["seq"][0], message["filtered"]) == (first, 0)
            first = message["seq"][1] + 1


def test_a_filter_asked_for_before_the_worker_has_answered_comes_after_hello(start: Start) -> None:
    edge, workers = start(SELDOM)
    model = Worker(page_events=100)
    model.publish(4)
    with edge.browser("/ws/scans/demo?since=start") as browser:
        shard, peer, request = workers.question()
        ask(browser, action="filter", types=["portFound"])
        edge.get("/healthz")
        assert isinstance(request, HeadRequest)
        workers.answer(shard, peer, encode(model.head(request)))
        assert told(browser)["type"] == "hello"
        message = told(browser)
        assert (message["type"], message["from"]) == ("filter", 1)
        answer_one(workers, model)
        filtered_batch(browser, 1, 4, b"portFound")


def test_which_types_are_critical_is_the_workers_to_say(start: Start) -> None:
    edge, workers = start(SELDOM)
    with edge.browser("/ws/scans/demo?types=portFound&since=start") as browser:
        shard, peer, request = workers.question()
        workers.answer(shard, peer, encode(HeadReply(request.id, CHANNEL, 1, 0, 1, critical=("breach",))))
        told(browser)
        body = b'[{"type":"scanStarted"},{"type":"breach"}]'
        workers.see_joined(CHANNEL)
        workers.publish(CHANNEL, b'F|scan/demo|{"epoch":1,"first":1,"last":2}\n' + body)
        assert told(browser)["events"] == [{"type": "breach"}]


def test_what_is_no_request_is_answered_counted_and_changes_nothing(start: Start) -> None:
    edge, workers = start(SELDOM)
    model = Worker(page_events=100)
    with edge.browser("/ws/scans/demo?types=portFound&since=start") as browser:
        answer_one(workers, model)
        told(browser)
        for text in (
            "",
            "{",
            '{"action":"reboot"}',
            '{"action":"subscribe","scan_id":"x"}',
            "[1]",
        ):
            browser.send(text)
            error = told(browser)
            assert (error["type"], error["code"], error["temporary"]) == ("error", 4400, False)
            assert error["message"]
        ask(browser, action="ping")
        assert told(browser) == {"type": "pong"}
        ask(browser, action="filter", min_severity="Grave")
        assert "Grave" in told(browser)["message"]
        publish(workers, model, 10)
        filtered_batch(browser, 1, 10, b"portFound")
    counted = edge.stop()
    assert counted["actions_refused{code=4400}"] == 6
    assert counted["inbound_messages"] == 7


def test_who_asks_on_and_does_not_read_is_answered_so_many_times(start: Start) -> None:
    edge, workers = start(SELDOM + "[limits]\nkernel_buffer_bytes = 4096\nmax_inbound_per_s = 1000000\n")
    with edge.raw("/ws/scans/demo?since=start", receive_buffer=65_536) as browser:
        answer_one(workers, Worker())
        for _ in range(3_000):
            browser.send(0x1, b'{"action":"%b"}' % (b"x" * 1_000))
        edge.get("/healthz")
        browser.send(0x8, b"\x03\xe8")
        while browser.frame() is not None:
            pass
    counted = edge.stop()
    assert counted["actions_unanswered"] > 0
    assert counted["actions_unanswered"] + counted["actions_refused{code=4400}"] == 3_000


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("min_severity=Grave", "min_severity='Grave'"),
        ("cidr=10.0.0.300", "cidr='10.0.0.300'"),
        ("level=some", "level='some'"),
        ("types=a,,b", "types='a,,b'"),
        ("types=%ff", "types: not UTF-8"),
    ],
)
def test_a_bad_filter_in_an_address_is_refused_with_its_reason(
    start: Start, query: str, problem: str
) -> None:
    edge, workers = start()
    with edge.raw(f"/ws/scans/demo?{query}") as browser:
        before, code, reason = browser.until_close()
        assert (before, code) == ([], 4400)
        assert reason.startswith(f"bad request: {problem}")
    status, answer = edge.get(f"/sse/scans/demo?{query}")
    assert status == 400
    assert answer["error"].startswith(problem)
    assert workers.unasked() == []


# --- several scans ------------------------------------------------------------------------------------


def test_several_scans_come_on_one_connection(start: Start) -> None:
    edge, workers = start(SELDOM)
    models = {name: Worker(page_events=100) for name in ("a", "b")}
    with edge.browser("/ws/scans") as browser:
        for name, wanted in (("a", {}), ("b", {"types": "portFound"})):
            ask(browser, action="subscribe", scan_id=name, **wanted)
            answer_one(workers, models[name])
            hello = told(browser)
            assert (hello["type"], hello["scan_id"], hello["epoch"]) == ("hello", name, None)
        publish(workers, models["a"], 2, "scan/a")
        message = told(browser)
        assert (message["scan_id"], message["seq"], message["filtered"]) == ("a", [1, 2], 0)
        publish(workers, models["b"], 7, "scan/b")
        filtered_batch(browser, 1, 7, b"portFound")
        ask(browser, action="filter", scan_id="a", types="custom")
        message = told(browser)
        assert (message["type"], message["scan_id"], message["from"]) == ("filter", "a", 3)
        ask(browser, action="unsubscribe", scan_id="b")
        assert told(browser) == {
            "type": "unsubscribed",
            "code": 1000,
            "reason": "unsubscribed",
            "reconnect": True,
            "scan_id": "b",
        }
        workers.left("scan/b")
        ask(browser, action="subscribe", scan_id="b", since="1:5")
        assert answer_one(workers, models["b"]) == HeadRequest(3, "scan/b", 1)
        assert told(browser)["resumed"] is True
        answer_one(workers, models["b"])
        assert told(browser)["seq"] == [6, 7]
    counted = edge.stop()
    assert (counted["subscriptions"], counted["unsubscribed{code=1000}"]) == (3, 1)
    assert counted["connections{wire=native}"] == 1
    assert counted["messages_sent"] == 8


def test_what_cannot_be_subscribed_to_is_told_and_the_rest_goes_on(start: Start) -> None:
    edge, workers = start(SELDOM + "[limits]\nmax_subscriptions = 1\n")
    model = Worker(page_events=100)
    with edge.browser("/ws/scans") as browser:
        ask(browser, action="unsubscribe", scan_id="demo")
        assert told(browser)["message"] == "demo: not subscribed"
        ask(browser, action="subscribe", scan_id="demo", since="yesterday")
        error = told(browser)
        assert (error["type"], error["code"], error["scan_id"]) == ("error", 4400, "demo")
        assert "yesterday" in error["message"]
        ask(browser, action="subscribe", scan_id="demo")
        answer_one(workers, model)
        assert told(browser)["type"] == "hello"
        ask(browser, action="subscribe", scan_id="demo")
        assert told(browser)["message"] == "demo: subscribed already"
        ask(browser, action="subscribe", scan_id="other")
        error = told(browser)
        assert (error["code"], error["temporary"]) == (4029, True)
        assert error["message"] == "other: max_subscriptions (1) are open"
        publish(workers, model, 1)
        assert told(browser)["seq"] == [1, 1]
        assert workers.unasked() == []


def test_a_scan_that_ends_or_never_begins_ends_its_subscription_only(start: Start) -> None:
    edge, workers = start(PATIENT + "[limits]\nwaiting_s = 0.5\n")
    model = Worker(page_events=100)
    with edge.browser("/ws/scans") as browser:
        ask(browser, action="subscribe", scan_id="demo")
        answer_one(workers, model)
        told(browser)
        publish(workers, model, 1)
        assert told(browser)["seq"] == [1, 1]
        workers.beacon(0, gone=[(CHANNEL, 1)])
        over = told(browser)
        assert (over["type"], over["code"], over["reason"]) == ("unsubscribed", 1000, "Scan completed")
        ask(browser, action="subscribe", scan_id="never")
        answer_one(workers, Worker())
        assert told(browser)["epoch"] is None
        over = told(browser)
        assert (over["scan_id"], over["code"], over["reconnect"]) == ("never", 4404, False)
        ask(browser, action="subscribe", scan_id="demo")
        answer_one(workers, model)
        assert told(browser)["epoch"] == 1


def big_page(request: PageRequest, head: int) -> bytes:
    """A page of one event of a quarter of a megabyte."""
    raw = json.dumps({"type": "note", "n": request.first, "pad": "." * 250_000}).encode()
    header = PageHeader(
        request.id, request.channel, request.epoch, request.first, request.first, head, True, request.epoch
    )
    return encode_page(header, [raw])


def test_a_scan_with_a_backlog_holds_up_no_other(start: Start) -> None:
    edge, workers = start(SELDOM)
    live = Worker()
    with edge.browser("/ws/scans") as browser:
        ask(browser, action="subscribe", scan_id="demo")
        answer_one(workers, live)
        told(browser)
        questions = []
        for name in ("old", "older"):
            ask(browser, action="subscribe", scan_id=name, since="start")
            while not isinstance((question := workers.question())[2], HeadRequest):
                questions.append(question)
            shard, peer, request = question
            workers.answer(shard, peer, encode(HeadReply(request.id, f"scan/{name}", 1, 1_000, 1)))
            assert told(browser)["scan_id"] == name
        asked: list[str] = []
        for number in range(1, 11):
            shard, peer, page = questions.pop() if questions else workers.question()
            assert isinstance(page, PageRequest)
            edge.get("/healthz")
            assert workers.unasked() == [], "one of them at a time asks for history"
            asked.append(page.channel)
            publish(workers, live, 1)
            workers.answer(shard, peer, big_page(page, 1_000))
            given = {told(browser)["scan_id"] for _ in range(2)}
            assert given == {"demo", page.channel.removeprefix("scan/")}, f"in round {number}"
        assert asked == ["scan/old", "scan/older"] * 5


def test_states_are_asked_for_one_at_a_time_as_pages_are(start: Start) -> None:
    edge, workers = start(SELDOM)
    names = ["one", "two", "three"]
    with edge.browser("/ws/scans") as browser:
        for name in names:
            ask(browser, action="subscribe", scan_id=name)
        asked: list[tuple[int, bytes, StateRequest]] = []
        for _ in range(4):
            shard, peer, request = workers.question()
            if isinstance(request, StateRequest):
                asked.append((shard, peer, request))
            else:
                workers.answer(shard, peer, encode(HeadReply(request.id, request.channel, 1, 9, 1)))
        for number in range(3):
            edge.get("/healthz")
            assert workers.unasked() == [], f"one of them at a time, in round {number}"
            ((shard, peer, request),) = asked
            body = b'{"pad":"%b"}' % (b"." * 250_000)
            workers.answer(shard, peer, encode(StateHeader(request.id, request.channel, 1, 9)) + b"\n" + body)
            while (message := told(browser))["type"] != "snapshot":
                assert message["type"] == "hello"
            assert request.channel == f"scan/{message['scan_id']}"
            names.remove(message["scan_id"])
            if names:
                shard, peer, following = workers.question()
                assert isinstance(following, StateRequest)
                asked = [(shard, peer, following)]
        assert names == []


# --- statistics ---------------------------------------------------------------------------------------


def test_statistics_are_pushed_and_the_workers_asked_once_for_all_who_watch(start: Start) -> None:
    edge, workers = start(SELDOM, shards=2)
    edge.get("/healthz")
    assert workers.unasked() == []
    with edge.browser("/ws/stats") as one, edge.browser("/ws/scans") as two:
        ask(two, action="subscribe", stats=True)
        workers.answer_channels([summary("scan/a"), summary("report/r")])
        for browser in (one, two):
            whole = told(browser)
            assert (whole["type"], whole["whole"]) == ("stats", True)
            assert (whole["stats"]["total_scans"], whole["stats"]["scans"][0]["scan_id"]) == (1, "a")
            assert [scan["scan_id"] for scan in whole["scans"]] == ["a"]
        workers.answer_channels([summary("scan/a", elapsed_s=9.0)])
        workers.answer_channels([summary("scan/b", status="completed")])
        for browser in (one, two):
            change = told(browser)
            assert (change["whole"], change["gone"]) == (False, ["a"])
            assert [scan["status"] for scan in change["scans"]] == ["completed"]
            assert "scans" not in change["stats"]
        one.send("{}")
        assert told(one)["type"] == "error"
        ask(one, action="ping")
        assert told(one) == {"type": "pong"}
        ask(two, action="subscribe", stats=True)
        assert told(two)["message"] == "stats: subscribed already"
        ask(two, action="unsubscribe", stats=True)
        over = told(two)
        assert (over["type"], over["stats"], over["code"]) == ("unsubscribed", True, 1000)
    edge.process.wait_for("disconnected")
    counted = edge.stop()
    assert counted["stats_changes"] == 2


def test_nobody_is_asked_once_nobody_watches(start: Start) -> None:
    edge, workers = start(SELDOM)
    with edge.browser("/ws/stats") as browser:
        workers.answer_channels([])
        told(browser)
    edge.process.wait_for("disconnected")
    edge.get("/healthz")
    workers.unasked()
    with edge.browser("/ws/stats") as browser:
        workers.answer_channels([summary("scan/a")])
        message = told(browser)
        if not message["scans"]:  # the answer of a moment ago was good enough to begin with
            message = told(browser)
        assert [scan["scan_id"] for scan in message["scans"]] == ["a"]


def test_who_is_too_slow_for_a_change_is_given_the_whole(start: Start) -> None:
    edge, workers = start(SELDOM + "[limits]\nkernel_buffer_bytes = 4096\n")

    def answer(events: int) -> None:
        many: list[ChannelSummary] = [summary(f"scan/{number}", events) for number in range(500)]
        workers.answer_channels(many)

    with edge.raw("/ws/stats", receive_buffer=4_096) as browser:
        for events in range(1, 6):
            answer(events)
        messages = []
        while not messages or messages[-1]["stats"]["total_events"] < 5 * 500:
            frame = browser.frame()
            assert frame is not None
            messages.append(json.loads(frame[1]))
    assert messages[0]["whole"]
    assert messages[-1]["whole"], "it was given what it had missed"
    assert len(messages) < 5


def test_statistics_come_as_server_sent_events(start: Start) -> None:
    edge, workers = start(SELDOM)
    with closed_after(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=WAIT_S * PATIENCE)) as link:
        link.request("GET", "/sse/stats")
        workers.answer_channels([summary("scan/a")])
        with link.getresponse() as response:
            assert response.status == 200
            whole = next_sent(response)
            assert (whole["type"], whole["whole"], whole["stats"]["total_scans"]) == ("stats", True, 1)
