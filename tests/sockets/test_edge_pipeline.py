"""`/api/pipeline`: what every stage tells, and that one that does not answer holds nobody up."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from websockets.sync.client import connect

from pipeline import __version__
from pipeline.roll_call import RollCall
from pipeline.sockets import edge_control, ingest_data, shard_history
from pipeline.wire import StatsReply, StatsRequest, decode_history_request, encode
from tests.harness import Pipeline, deadline
from tests.sockets.peers import Edge, Peers


@pytest.fixture
def two(pipeline: Pipeline) -> Pipeline:
    """Give a pipeline of two workers, each with two shards."""
    pipeline.start(workers=2)
    return pipeline


def asked(pipeline: Pipeline, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Ask until the answer is as wanted; return its stages by name."""
    end = deadline(20)
    pause = threading.Event()
    while True:
        status, answer = pipeline.get("/api/pipeline")
        assert status == 200
        stages = {stage["name"]: stage for stage in answer["stages"]}
        if wanted(stages):
            return stages
        assert time.monotonic() < end, json.dumps(answer)
        pause.wait(0.02)


def test_every_stage_tells_how_it_is(two: Pipeline) -> None:
    with Peers(two.run_dir) as peers:
        producer = peers.connect(zmq.PUSH, ingest_data(0))
        for event in (
            b'{"type":"scanStarted","scan_id":"demo"}',
            b'{"type":"nothing"',
            b'{"type":"\xff","scan_id":"demo"}',
        ):
            producer.send(event)
        stages = asked(two, lambda found: sum(found["ingest-0"]["rejected"].values()) == 2)
        assert list(stages) == ["ingest-0", "shard-0", "shard-1", "shard-2", "shard-3", "edge-0"]
        assert all(stage["alive"] and set(stage["problems"]) <= {"slow"} for stage in stages.values())
        assert all(stage["version"] == __version__ and stage["uptime_s"] > 0 for stage in stages.values())
        assert stages["ingest-0"]["rejected"] == {"json": 1, "utf8": 1}
        assert stages["shard-0"]["pid"] == stages["shard-2"]["pid"] != stages["shard-1"]["pid"]
        assert stages["edge-0"]["pid"] == two.processes["edge-0"].popen.pid

        def owner(found: dict[str, Any]) -> list[dict[str, Any]]:
            return [stage for stage in found.values() if stage.get("channels")]

        (shard,) = owner(asked(two, owner))
        assert shard["counters"]["events"] == 1
        assert shard["journal"]["writable"]
        assert 0 <= shard["journal"]["committed_s"] < 60
        rated = asked(two, lambda found: found["ingest-0"]["rates"]["events_per_s"] is not None)
        assert rated["edge-0"]["rates"]["messages_per_s"] is not None


def test_one_that_is_killed_or_stopped_is_silent_until_it_is_back(two: Pipeline) -> None:
    asked(two, lambda found: all(stage["alive"] for stage in found.values()))
    two.processes["throttle-batch-1"].kill()
    stages = asked(two, lambda found: not found["shard-1"]["alive"])
    assert [name for name, stage in stages.items() if not stage["alive"]] == ["shard-1", "shard-3"]
    assert stages["shard-1"]["problems"] == ["silent"]
    assert stages["shard-1"]["pid"] == two.processes["throttle-batch-1"].popen.pid
    two.processes["throttle-batch-0"].popen.send_signal(signal.SIGSTOP)
    try:
        stages = asked(two, lambda found: not found["shard-0"]["alive"])
        assert stages["edge-0"]["alive"]
    finally:
        two.processes["throttle-batch-0"].popen.send_signal(signal.SIGCONT)
    two.processes["throttle-batch-1"].close()
    two.start_one("throttle-batch-1", workers=2).wait_for("ready")
    stages = asked(two, lambda found: all(stage["alive"] for stage in found.values()))
    assert stages["shard-1"]["pid"] == two.processes["throttle-batch-1"].popen.pid


def test_who_ended_well_is_gone_and_who_was_killed_is_silent(two: Pipeline) -> None:
    two.start_edge(1)
    two.start_edge(2)
    two.start_one("ingest-1").wait_for("ready")
    with closing(RollCall(two.run_dir, two.shards)) as call:
        assert [one.name for one in call.ask(20) if one.stats is None] == []
        two.processes["edge-1"].terminate()
        two.processes["ingest-1"].terminate()
        two.processes["edge-2"].kill()
        two.processes["ingest-0"].kill()
        told = call.ask(20)
        assert {"edge-1", "ingest-1"}.isdisjoint(one.name for one in told)
        assert not list(two.run_dir.glob("ingest-1.*[!k]"))  # but its locks
        assert [one.name for one in told if one.stats is None] == ["ingest-0", "edge-2"]
    with closing(RollCall(two.run_dir, two.shards)) as call:
        assert {one.name for one in call.ask(20)}.isdisjoint({"ingest-0", "ingest-1", "edge-1", "edge-2"})


def test_readers_are_added_up(two: Pipeline) -> None:
    assert asked(two, lambda found: found["edge-0"]["alive"])["edge-0"]["readers"]["open"] == 0
    with connect(two.ws("/ws/stats")) as stats, connect(two.ws("/api/ws/scans/demo")):
        stats.recv()
        readers = asked(two, lambda found: found["edge-0"]["readers"]["open"] == 2)["edge-0"]["readers"]
        assert readers["wires"] == {"heroforge": 1, "native": 1}
        assert (readers["paces"], readers["behind"]) == ({"10": 2}, 0)
        assert asked(two, lambda found: found["edge-0"]["counters"]["messages_sent"] > 0)


def test_those_who_ask_at_once_share_a_question(run_dir: Path) -> None:
    with Peers(run_dir) as peers:
        shard = peers.bind(zmq.ROUTER, shard_history(0))
        edge = Edge(run_dir)
        try:
            with ExitStack() as stack:
                asking = [stack.enter_context(edge.request("/api/pipeline")) for _ in range(8)]
                peer, message = shard.recv_multipart()
                edge.get("/healthz")
                question = decode_history_request(message)
                assert isinstance(question, StatsRequest)
                shard.send_multipart((peer, encode(StatsReply(question.id, "shard-0", {"events": 3.0}))))
                answers = [json.loads(one.getresponse().read()) for one in asking]
            assert [answer["stages"][0]["counters"] for answer in answers] == [{"events": 3.0}] * 8
        finally:
            edge.close()


def test_an_answer_that_is_late_or_rubbish_is_none(run_dir: Path) -> None:
    with Peers(run_dir) as peers:
        control = peers.bind(zmq.ROUTER, edge_control(3))
        with closing(RollCall(run_dir)) as call, ThreadPoolExecutor(1) as pool:
            first = pool.submit(call.ask, 0.05)
            peer, message = control.recv_multipart()
            assert [told.stats for told in first.result()] == [None]
            second = pool.submit(call.ask, 0.3)
            control.send_multipart((peer, b"rubbish"))
            late = json.loads(message)["id"]
            control.send_multipart((peer, encode(StatsReply(late, "edge-3", {"events": 1.0}))))
            assert [told.stats for told in second.result()] == [None]
            third = pool.submit(call.ask, 20.0)
            while not third.done():
                if control.poll(10):
                    peer, message = control.recv_multipart()
                    about = json.loads(message)
                    if about["type"] == "stats":
                        control.send_multipart((peer, encode(StatsReply(about["id"], "edge-3", {}))))
                    else:
                        about |= {"total": 0, "connections": []}
                        del about["limit"]
                        control.send_multipart((peer, json.dumps(about).encode()))
            (told,) = third.result()
            assert told.stats is not None
            assert told.stats.stage == "edge-3"
