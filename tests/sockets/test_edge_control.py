"""An edge's control socket, and `/api/connections` over all edges of a pipeline."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from pipeline.sockets import edge_control
from pipeline.wire import (
    SUBPROTOCOL,
    ConnectionsReply,
    ConnectionsRequest,
    ReadersSummary,
    StatsReply,
    StatsRequest,
    decode_edge_reply,
    encode,
)
from tests.harness import Process, next_sent
from tests.sockets.peers import Edge, Peers, PlayedWorkers
from tests.sockets.test_edge_websocket import answer_one, batch, publish, told
from tests.unit.edge.worker_model import CHANNEL, Worker


@pytest.fixture
def two(run_dir: Path) -> Iterator[tuple[Edge, Edge, PlayedWorkers, Peers]]:
    """Give two edges of one pipeline, each on a port of its own, and their workers."""
    with Peers(run_dir) as peers, ExitStack() as stack:
        edges = []
        for index in range(2):
            edge = Edge(run_dir, args=("--port", "0", "--index", str(index)))
            stack.callback(edge.close)
            edges.append(edge)
        yield edges[0], edges[1], PlayedWorkers(peers, 1), peers


def test_an_edge_answers_for_its_counters_and_connections(
    two: tuple[Edge, Edge, PlayedWorkers, Peers],
) -> None:
    edge, _, workers, peers = two
    control = peers.connect(zmq.DEALER, edge_control(0))
    control.send(encode(StatsRequest(7)))
    reply = decode_edge_reply(control.recv())
    assert isinstance(reply, StatsReply)
    assert (reply.id, reply.stage, reply.counters["connections_open"]) == (7, "edge-0", 0)
    control.send(b"rubbish")
    control.send(encode(ConnectionsRequest(8)))
    assert decode_edge_reply(control.recv()) == ConnectionsReply(8, 0, [])
    with edge.browser("/ws/scans/demo"):
        workers.joined(CHANNEL)
        control.send(encode(ConnectionsRequest(9, 0)))
        assert decode_edge_reply(control.recv()) == ConnectionsReply(
            9, 1, [], ReadersSummary({"native": 1}, {10: 1})
        )
    assert edge.stop()["malformed{socket=control}"] == 1


def test_each_connection_is_told_whichever_edge_is_asked(
    two: tuple[Edge, Edge, PlayedWorkers, Peers],
) -> None:
    first, second, workers, _ = two
    model = Worker(page_events=100)
    model.publish(5)
    with first.browser("/ws/scans/demo?since=start", subprotocols=[SUBPROTOCOL]) as native:
        answer_one(workers, model)
        hello = told(native)
        answer_one(workers, model)
        assert batch(native) == (1, 1, 5)
        publish(workers, model, 2)
        assert batch(native) == (1, 6, 7)
        with second.request("/sse/scans/demo?since=start") as stream:
            answer_one(workers, model)
            response = stream.getresponse()
            assert next_sent(response)["type"] == "hello"
            for edge in (first, second):
                status, answer = edge.get("/api/connections")
                assert status == 200
                assert (answer["total"], answer["edges"], answer["complete"]) == (2, 2, True)
                one, two_ = answer["connections"]
                assert (one["connection_id"], one["edge"], one["wire"]) == (
                    hello["connection_id"],
                    0,
                    "native",
                )
                assert (one["scans"], one["reports"], one["address"]) == (["demo"], [], "127.0.0.1")
                assert (one["messages"], one["lag"], one["skipped"], one["pace"]) == (3, 0, 0, 10)
                assert one["bytes"] > 200
                assert one["duration"] >= two_["duration"] >= 0
                assert (two_["edge"], two_["wire"]) == (1, "sse")
            answer = second.get("/api/connections?limit=1")[1]
            assert (len(answer["connections"]), answer["total"]) == (1, 2)
            assert second.get("/api/connections?limit=none")[0] == 400


def test_an_edge_that_does_not_answer_is_left_out_and_told(
    two: tuple[Edge, Edge, PlayedWorkers, Peers],
) -> None:
    first, second, _, _ = two
    second.process.popen.send_signal(signal.SIGSTOP)
    try:
        assert first.get("/api/connections")[1] == {
            "connections": [],
            "total": 0,
            "edges": 1,
            "complete": False,
        }
    finally:
        second.process.popen.send_signal(signal.SIGCONT)
    second.process.kill()  # its socket stays behind, and nobody listens there
    assert first.get("/api/connections")[1] == {"connections": [], "total": 0, "edges": 1, "complete": True}


def test_two_edges_cannot_have_one_index(two: tuple[Edge, Edge, PlayedWorkers, Peers], run_dir: Path) -> None:
    third = Process("edge", "--run-dir", str(run_dir), "--port", "0", "--index", "1")
    try:
        assert third.wait() == 1
        assert "edge-1.control: another process is bound to it" in third.errors
    finally:
        third.close()
