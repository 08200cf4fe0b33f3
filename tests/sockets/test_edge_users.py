"""What one user may have and do, where there are accounts: beyond it that user is refused, and no other."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from pipeline.edge.handlers.past import MAX_ASKED
from pipeline.tokens import mint
from pipeline.wire import (
    AccessReply,
    AccessRequest,
    HistoryRequest,
    PastLife,
    PastReply,
    PastRequest,
    StateHeader,
    StateRequest,
    TotalsEntry,
    encode,
    encode_state,
)
from tests.harness import PATIENCE
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers
from tests.sockets.test_edge_websocket import closed, told

SECRET = b"a secret of more than thirty-two bytes"
LIMITED = "[users]\nrequests_per_s = 0.001\nposts_per_s = 0.001\nmessages_per_s = 0.001\n"
"""What is over does not come back while a test runs."""

ASKED_ONCE = "[upstream]\nanswer_timeout_s = 60\n"
"""A question that a test leaves unanswered is not repeated."""

Start = Callable[[str], tuple[Edge, PlayedWorkers]]


def token(subject: str) -> str:
    now = time.time()  # noqa: TID251  # what a token says is wall clock
    claims = {"sub": subject, "iss": "scanstream", "aud": "scanstream", "iat": now - 1, "exp": now + 3600}
    return mint(SECRET, "HS256", claims)


A, B = token("a"), token("b")


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Give a function that starts an edge with accounts, whose workers the test plays."""
    secret = run_dir / "secret"
    secret.write_bytes(SECRET)
    with Peers(run_dir) as peers, ExitStack() as stack:

        def begin(toml: str) -> tuple[Edge, PlayedWorkers]:
            edge = Edge(run_dir, f'[accounts]\nsecret_file = "{secret}"\n{ASKED_ONCE}{toml}')
            stack.callback(edge.close)
            return edge, PlayedWorkers(peers, 1)

        yield begin


def ask(
    edge: Edge, path: str, bearer: str, method: str = "GET", body: bytes | None = None
) -> tuple[int, Any, str | None]:
    """Return (status, what was answered, Retry-After)."""
    with sent(edge, path, bearer, method, body) as response:
        answered = response.getresponse()
        return answered.status, json.loads(answered.read()), answered.headers["Retry-After"]


@contextmanager
def sent(
    edge: Edge, path: str, bearer: str, method: str = "GET", body: bytes | None = None
) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=WAIT_S * PATIENCE)
    try:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        connection.request(method, path, body=body, headers=headers)
        yield connection
    finally:
        connection.close()


def ticket(edge: Edge, bearer: str) -> tuple[int, Any, str | None]:
    return ask(edge, "/api/tickets", bearer, "POST", b'{"stats":true}')


def come(edge: Edge, bearer: str, path: str = "/ws/scans") -> ClientConnection:
    protocols = [Subprotocol("scanstream.v1.json"), Subprotocol(f"scanstream.token.{bearer}")]
    return edge.browser(path, subprotocols=protocols)


def is_open(browser: ClientConnection) -> bool:
    browser.send('{"action":"ping"}')
    return bool(told(browser)["type"] == "pong")


def answer_until(
    workers: PlayedWorkers, kind: type[HistoryRequest], owner: str
) -> tuple[int, bytes, HistoryRequest]:
    """Say of each scan that is asked for whose it is, until something else is asked; return that."""
    while True:
        shard, peer, request = workers.question()
        if isinstance(request, kind):
            return shard, peer, request
        assert isinstance(request, AccessRequest)
        workers.answer(shard, peer, encode(AccessReply(request.id, request.channel, 7, owner)))


def test_who_asks_too_fast_is_told_when_to_come_back_and_no_other_user_is(start: Start) -> None:
    edge, _ = start(LIMITED + "request_burst = 2\n")
    assert [ticket(edge, A)[0] for _ in range(2)] == [200, 200]
    status, said, retry = ticket(edge, A)
    assert (status, said) == (429, {"error": "too many requests of this user at once"})
    assert retry is not None
    assert int(retry) >= 1
    assert ticket(edge, B)[0] == 200
    with come(edge, A) as browser:
        assert closed(browser)[1:] == (4029, "too many connections")
    assert edge.stop()["refused{reason=user}"] == 2


def test_who_posts_too_fast_is_told_when_to_come_back_and_no_other_user_is(start: Start) -> None:
    edge, _ = start(LIMITED + "post_burst = 1\nrequest_burst = 1\n")
    for bearer in (A, B):
        assert ask(edge, "/api/scans/.bad/events", bearer, "POST", b"{}")[0] == 404
        status, said, retry = ask(edge, "/api/scans/.bad/events", bearer, "POST", b"{}" * 50_000)
        assert (status, said) == (429, {"error": "too many requests of this user at once"})
        assert retry is not None
        assert ticket(edge, bearer)[0] == 200, "posts are counted by themselves"
    assert edge.stop()["posts{status=429}"] == 2


def test_a_user_has_so_many_streams_whatever_they_are(start: Start) -> None:
    edge, workers = start("[users]\nmax_connections = 2\n")
    with come(edge, A) as first, come(edge, A, "/ws/stats") as second, come(edge, B) as others:
        assert is_open(first)
        with come(edge, A) as third:
            assert closed(third)[1:] == (4029, "too many connections")
        with edge.browser("/ws/scans", subprotocols=[Subprotocol("scanstream.v1.json")]) as late:
            late.send(json.dumps({"action": "refresh", "token": A}))
            assert closed(late)[1:] == (4029, "too many connections")
        status, said, retry = ask(edge, "/sse/stats", A)
        assert (status, said, retry) == (503, {"error": "too many connections"}, "5")
        assert is_open(others)
        second.close()
        edge.process.wait_for("disconnected", code=1000)
        with come(edge, A) as again:
            assert is_open(again)
    del workers
    assert edge.stop()["refused{reason=user}"] == 3


def test_a_user_is_subscribed_to_so_many_scans_on_all_connections(start: Start) -> None:
    edge, workers = start("[users]\nmax_subscriptions = 2\n")

    def subscribe(browser: ClientConnection, scan: str) -> None:
        browser.send(json.dumps({"action": "subscribe", "scan_id": scan}))

    def asked() -> str:
        _, _, request = workers.question()
        assert isinstance(request, AccessRequest)
        return request.channel

    with come(edge, A) as first, come(edge, A) as second, come(edge, B) as others:
        for browser, scan in ((first, "one"), (second, "two"), (others, "three")):
            subscribe(browser, scan)
            assert asked() == f"scan/{scan}"
        subscribe(first, "four")
        refused = told(first)
        assert (refused["type"], refused["code"], refused["scan_id"]) == ("error", 4029, "four")
        assert refused["message"] == "four: users.max_subscriptions (2) are open"
        second.send(json.dumps({"action": "unsubscribe", "scan_id": "two"}))
        assert told(second)["type"] == "unsubscribed"
        subscribe(first, "four")
        assert asked() == "scan/four"
        second.close()
        others.close()
    assert edge.stop()["actions_refused{code=4029}"] == 1


def test_messages_of_all_connections_of_a_user_count_together(start: Start) -> None:
    edge, _ = start(LIMITED + "message_burst = 3\n")
    with come(edge, A) as first, come(edge, A) as second, come(edge, B) as others:
        assert is_open(first)
        assert is_open(second)
        assert is_open(first)
        second.send('{"action":"ping"}')
        assert closed(second)[1:] == (4029, "too many messages")
        assert is_open(others)
        first.send(json.dumps({"action": "refresh", "token": A}))
        assert closed(first)[1:] == (4029, "too many messages"), "a token is a message, too"
    assert edge.stop()["refused{reason=user}"] == 2


@pytest.mark.parametrize("rest", ["export", "compare"])
def test_a_user_has_so_many_files_and_comparisons_under_way(start: Start, rest: str) -> None:
    edge, workers = start("[users]\nmax_exports = 1\n")
    with sent(edge, f"/api/scans/demo/{rest}", A) as first:
        shard, peer, request = answer_until(workers, StateRequest, "a")
        with sent(edge, "/api/scans/demo/export", A) as second:
            beyond, him, asks = workers.question()
            workers.answer(beyond, him, encode(AccessReply(asks.id, "scan/demo", 7, "a")))
            answered = second.getresponse()
            assert (answered.status, answered.headers["Retry-After"]) == (429, "1")
        workers.answer(shard, peer, encode_state(StateHeader(request.id, "scan/demo"), None))
        assert first.getresponse().status == 404
    with sent(edge, f"/api/scans/demo/{rest}", A) as third:
        shard, peer, request = answer_until(workers, StateRequest, "a")
        workers.answer(shard, peer, encode_state(StateHeader(request.id, "scan/demo"), None))
        assert third.getresponse().status == 404
    assert edge.stop()["refused{reason=exports}"] == 1


def test_an_address_asks_so_fast_and_who_looks_after_the_process_always(start: Start) -> None:
    edge, _ = start("[requests]\nrequests_per_s = 0.001\nrequest_burst = 2\n")
    assert ticket(edge, A)[0] == 200
    assert ask(edge, "/api/scans", "rubbish")[0] == 401
    for bearer in (A, B):
        status, said, retry = ticket(edge, bearer)
        assert (status, said) == (429, {"error": "too many requests at once"})
        assert retry is not None
    assert edge.get("/healthz")[0] == 200
    with come(edge, A) as browser:
        assert is_open(browser), "streams are counted by themselves"
    assert edge.stop()["refused{reason=rate}"] == 2


def test_limits_that_are_read_anew_hold_at_once(start: Start, run_dir: Path) -> None:
    edge, _ = start(LIMITED + "request_burst = 1\n")
    assert [ticket(edge, A)[0] for _ in range(2)] == [200, 429]
    config = run_dir / "edge.toml"
    config.write_text(config.read_text().replace("request_burst = 1", "request_burst = 2"))
    edge.process.popen.send_signal(signal.SIGHUP)
    edge.process.wait_for("configuration read anew", changed="users.request_burst")
    assert [ticket(edge, A)[0] for _ in range(2)] == [200, 429]


def test_without_accounts_there_are_no_users(run_dir: Path) -> None:
    edge = Edge(
        run_dir, LIMITED + "request_burst = 1\npost_burst = 1\nmessage_burst = 1\nmax_connections = 1\n"
    )
    try:
        for _ in range(3):
            assert ask(edge, "/api/scans/.bad/events", "", "POST", b"{}")[0] == 404
        with edge.browser("/ws/scans") as first, edge.browser("/ws/scans") as second:
            assert is_open(first)
            assert is_open(second)
            assert is_open(second)
    finally:
        edge.close()


def test_a_stream_that_is_refused_costs_no_ticket(start: Start, run_dir: Path) -> None:
    edge, _ = start("[requests]\nconnects_per_s = 0.001\nconnect_burst = 1\n")
    text = ticket(edge, A)[1]["ticket"]
    with come(edge, A) as browser:
        assert is_open(browser)
    status, said = edge.get(f"/sse/stats?ticket={text}")
    assert (status, said) == (429, {"error": "too many requests at once"})
    assert not (run_dir / "tickets").exists(), "none was taken in"


def test_an_earlier_scan_is_looked_for_among_so_many_of_others(start: Start) -> None:
    edge, workers = start("")
    others = [
        PastLife(
            channel="scan/demo", epoch=1, mark=(5, row), present=False, status="completed", error=None,
            started_ms=1, ended_ms=2, last_event_ms=2, events=1, held_events=1, size_bytes=1,
            totals=TotalsEntry(), name="", targets=(), targets_left_out=0, labels={}, owner="b",
        )
        for row in range(50)
    ]  # fmt: skip
    asked = 0
    with sent(edge, "/api/scans/demo/compare", A) as comparing:
        shard, peer, request = answer_until(workers, StateRequest, "a")
        workers.answer(shard, peer, encode_state(StateHeader(request.id, "scan/demo", 7, 3), None))
        workers.answer_channels([])
        while asked < MAX_ASKED:
            shard, peer, request = workers.question()
            assert isinstance(request, PastRequest)
            workers.answer(shard, peer, encode(PastReply(request.id, 0, others, (5, 0))))
            asked += 1
        answered = comparing.getresponse()
        assert answered.status == 404
        assert json.loads(answered.read()) == {"error": "no earlier scan of the same targets is kept"}
