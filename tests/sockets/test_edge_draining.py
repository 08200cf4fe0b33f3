"""An edge that is told to stop: who is told what, in which order, and what a second signal does."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.harness import next_sent
from tests.sockets.peers import Edge, Peers, PlayedWorkers, RawBrowser
from tests.sockets.test_edge_websocket import answer_head
from tests.unit.edge.worker_model import Worker

Start = Callable[..., tuple[Edge, PlayedWorkers]]


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    with Peers(run_dir) as peers, ExitStack() as stack:

        def begin(toml: str = "") -> tuple[Edge, PlayedWorkers]:
            edge = Edge(run_dir, toml)
            stack.callback(edge.close)
            return edge, PlayedWorkers(peers, 1)

        yield begin


def connected(edge: Edge, workers: PlayedWorkers, path: str = "/ws/scans/demo") -> RawBrowser:
    """Return a browser that has been greeted."""
    browser = edge.raw(path)
    answer_head(workers, Worker())
    assert browser.frame() is not None
    return browser


def test_in_its_grace_it_is_red_and_serves_on(start: Start) -> None:
    edge, workers = start("[drain]\ngrace_s = 600\n")
    workers.beacon(0)
    with connected(edge, workers) as early, edge.request("/healthz") as kept:
        kept.getresponse().read()
        edge.process.popen.terminate()
        edge.process.wait_for("draining")
        kept.request("GET", "/readyz")
        answer = kept.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (503, "draining")
        assert edge.get("/readyz")[0] == 503
        with connected(edge, workers) as late:
            edge.process.popen.terminate()  # a second time: at once
            for browser in (early, late):
                before, code, reason = browser.until_close()
                assert (code, reason) == (1001, "shutdown")
                assert [json.loads(payload)["type"] for opcode, payload in before if opcode == 0x1] == [
                    "closing"
                ]
    assert edge.process.wait() == 0


def test_after_it_nobody_is_taken_and_kept_connections_are_told(start: Start) -> None:
    edge, workers = start("[drain]\nwindow_s = 600\n")
    with ExitStack() as stack:
        many = [stack.enter_context(connected(edge, workers)) for _ in range(30)]
        kept = stack.enter_context(edge.request("/healthz"))
        kept.getresponse().read()
        edge.process.popen.terminate()
        told = []
        for browser in many:  # ten leave at once, and the others after them
            before, code, reason = browser.until_close()
            assert (code, reason) == (4000, "draining")
            [message] = [json.loads(payload) for opcode, payload in before if opcode == 0x1]
            assert (message["type"], message["code"], message["reconnect"]) == ("closing", 4000, True)
            told.append(message["retry_ms"])
            if len(told) == 1:
                kept.request("GET", "/readyz")
                assert kept.getresponse().read().startswith(b'{"status":"draining"')
                kept.request("GET", "/sse/scans/demo")
                refused = kept.getresponse()
                assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
                refused.read()
                with closing(socket.socket()) as late, pytest.raises(ConnectionRefusedError):
                    late.connect(("127.0.0.1", edge.port))
        assert all(0 <= retry_ms < 2_000 for retry_ms in told)
        assert len(set(told)) > 10
        for browser in many:
            assert browser.after_close() == b""
    assert edge.process.wait() == 0
    assert edge.process.lines[-1]["closed{code=4000}"] == 30


def test_they_leave_in_waves_the_oldest_first(start: Start) -> None:
    edge, workers = start("[drain]\nwindow_s = 600\n")
    with ExitStack() as stack:
        many = [stack.enter_context(connected(edge, workers)) for _ in range(60)]
        edge.process.popen.terminate()
        many[0].until_close()
        assert not many[-1].arrived() or many[30].arrived()
        edge.process.popen.send_signal(signal.SIGINT)
        codes = [browser.until_close()[1] for browser in many[1:]]
        assert set(codes) <= {4000, 1001}
        assert codes == sorted(codes, reverse=True)
    assert edge.process.wait() == 0


def test_a_browser_that_does_not_answer_is_not_waited_for(start: Start) -> None:
    edge, workers = start()
    with connected(edge, workers) as browser:
        edge.process.popen.terminate()
        assert browser.until_close()[1] == 4000
        assert edge.process.wait() == 0
        assert browser.frame() is None


def test_heroforges_wire_and_server_sent_events_drain_too(start: Start) -> None:
    edge, workers = start()
    with edge.raw("/api/ws/scans/demo") as heroforge, edge.request("/sse/scans/demo") as stream:
        for _ in range(2):
            answer_head(workers, Worker())
        response = stream.getresponse()
        assert next_sent(response)["type"] == "hello"
        edge.process.popen.terminate()
        before, code, reason = heroforge.until_close()
        assert (code, reason) == (4000, "draining")
        assert all(b"closing" not in payload for _, payload in before)
        last = json.loads(response.read().rpartition(b"data: ")[2])
        assert (last["type"], last["code"], last["reconnect"]) == ("closing", 4000, True)
    assert edge.process.wait() == 0


def test_without_browsers_it_ends_at_once(start: Start) -> None:
    edge, _ = start("[drain]\nwindow_s = 600\n")
    assert edge.process.terminate() == 0
