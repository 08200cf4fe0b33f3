"""SIGHUP: every stage reads its configuration anew, takes over what it can, and refuses what is wrong."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import zmq
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline import Emitter
from pipeline.sockets import ingest_control
from pipeline.wire import StatsReply, StatsRequest, decode_ingest_message, encode
from tests.harness import PATIENCE, Pipeline, Process

STAGES = {"ingest-0": "ingest", "throttle-batch-0": "throttle-batch", "edge-0": "edge"}
CONFIGS = {
    "ingest": '[limits]\nmax_producers = {number}\n[log]\nlevel = "{level}"\n',
    "throttle-batch": '[journal]\nretention_age_s = {number}\n[log]\nlevel = "{level}"\n',
    "edge": '[limits]\nmax_connections = {number}\n[log]\nlevel = "{level}"\n',
}
CHANGED = {
    "ingest": "limits.max_producers",
    "throttle-batch": "journal.retention_age_s",
    "edge": "limits.max_connections",
}


def write(pipeline: Pipeline, stage: str, text: str) -> Path:
    path = pipeline.run_dir.parent / f"{stage}.toml"
    path.write_text(text)
    return path


def hang_up(process: Process, fact: str = "configuration read anew") -> dict[str, Any]:
    process.popen.send_signal(signal.SIGHUP)
    return process.wait_for(fact)


def post(pipeline: Pipeline) -> int:
    """Post an event to the edge; return the status."""
    request = urllib.request.Request(
        f"{pipeline.url}/api/scans/posted/events",
        b'{"type":"custom"}',
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20 * PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


@pytest.mark.parametrize(("name", "stage"), STAGES.items())
def test_a_stage_takes_over_what_it_can_and_names_the_rest(pipeline: Pipeline, name: str, stage: str) -> None:
    process = pipeline.start_one(name, config={stage: CONFIGS[stage].format(number=1000, level="info")})
    ready = process.wait_for("ready")
    text = CONFIGS[stage].format(number=100, level="debug") + "[metrics]\nenabled = false\n"
    write(pipeline, stage, text)
    told = hang_up(process)
    assert sorted(told["changed"].split(", ")) == [CHANGED[stage], "log.level"]
    assert told["needs_restart"] == "metrics.enabled"
    write(
        pipeline,
        stage,
        "[log]\nlevle = 5\n[limits]\nmax_producers = -1\nmax_connections = -1\nmax_channels = -1\n",
    )
    refused = hang_up(process, "configuration refused; the old one holds")
    assert "did you mean level?" in refused["problem"]
    write(pipeline, stage, text)
    assert hang_up(process)["changed"] == "", "the old one holds"
    assert ready["metrics"] != ""
    counted = pipeline.stop()[name]
    assert (counted["config_reloads{result=taken}"], counted["config_reloads{result=refused}"]) == (2, 1)


def test_a_limit_of_an_edge_holds_at_once_and_sends_nobody_away(pipeline: Pipeline) -> None:
    pipeline.start(config={"edge": "[limits]\nmax_connections = 10\n"})
    with connect(pipeline.ws("/ws/scans/a")) as first:
        assert json.loads(first.recv(20 * PATIENCE))["type"] == "hello"
        write(pipeline, "edge", "[limits]\nmax_connections = 1\n")
        assert hang_up(pipeline.processes["edge-0"])["changed"] == "limits.max_connections"
        with connect(pipeline.ws("/ws/scans/b")) as second, pytest.raises(ConnectionClosed) as closed:
            second.recv(20 * PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4029
        first.ping().wait(20 * PATIENCE)


def test_a_frame_budget_holds_from_the_next_frame_on(pipeline: Pipeline) -> None:
    pipeline.start(config={"throttle-batch": "[batch]\nbatch_interval_s = 60.0\n"})
    with (
        connect(pipeline.ws("/ws/scans/demo")) as reader,
        Emitter("demo", run_dir=str(pipeline.run_dir)) as one,
    ):
        write(pipeline, "throttle-batch", "[batch]\nbatch_interval_s = 0.01\n")
        assert hang_up(pipeline.processes["throttle-batch-0"])["changed"] == "batch.batch_interval_s"
        one.emit({"type": "custom"})
        while "events" not in (message := json.loads(reader.recv(20 * PATIENCE))):
            pass
        assert message["events"] == [{"type": "custom"}]


def test_when_a_scan_stalls_and_is_freed_holds_for_scans_that_are_there(pipeline: Pipeline) -> None:
    pipeline.start_one("ingest-0").wait_for("ready")
    worker = pipeline.start_one("throttle-batch-0", config={"throttle-batch": ""})
    worker.wait_for("ready")
    with Emitter("quiet", run_dir=str(pipeline.run_dir)) as quiet:
        quiet.emit({"type": "scanStarted"})
        quiet.flush(20 * PATIENCE)
        with Emitter("over", run_dir=str(pipeline.run_dir)) as over:
            over.emit({"type": "scanStarted"})
            over.emit({"type": "scanCompleted"})
            over.flush(20 * PATIENCE)
        text = (
            "[watchdog]\nstalled_after_s = 1.0\nstalled_at_most_s = 1.0\n[cleanup]\ncleanup_after_s = 0.0\n"
        )
        write(pipeline, "throttle-batch", text)
        told = hang_up(worker)
        changed = "cleanup.cleanup_after_s, watchdog.stalled_after_s, watchdog.stalled_at_most_s"
        assert (told["changed"], told["needs_restart"]) == (changed, "")
        assert worker.wait_for("channel cleaned up")["channel"] == "scan/over"
        read = ["--run-dir", str(pipeline.run_dir), "--scan", "quiet", "--from-start", "--follow", "--raw"]
        tail = Process("tail", *read, "-n", "2")
        try:
            assert tail.wait(60) == 0
            types = [json.loads(line)["type"] for line in tail.output.splitlines()]
            assert types == ["scanStarted", "scanStalled"]
        finally:
            tail.close()


def test_an_edge_stops_and_begins_to_take_events(pipeline: Pipeline) -> None:
    pipeline.start(config={"edge": ""})
    assert post(pipeline) == 200
    write(pipeline, "edge", "[http_in]\nenabled = false\n")
    assert hang_up(pipeline.processes["edge-0"])["changed"] == "http_in.enabled"
    assert post(pipeline) == 405
    write(pipeline, "edge", "[http_in]\nrequests_per_s = 0.001\nrequest_burst = 1\n")
    told = hang_up(pipeline.processes["edge-0"])
    assert told["changed"] == "http_in.enabled, http_in.requests_per_s, http_in.request_burst"
    assert [post(pipeline) for _ in range(2)][1] == 429


def test_an_ingest_that_reads_anew_keeps_its_sockets(pipeline: Pipeline) -> None:
    process = pipeline.start_one("ingest-0", config={"ingest": "[limits]\nmax_producers = 10\n"})
    process.wait_for("ready")
    with zmq.Context() as context, context.socket(zmq.DEALER) as control:
        control.connect(f"ipc://{pipeline.run_dir / ingest_control(0)}")
        for expected in (0.0, 1.0):
            control.send(encode(StatsRequest(1)))
            assert control.poll(20_000 * PATIENCE)
            reply = decode_ingest_message(control.recv())
            assert isinstance(reply, StatsReply)
            assert reply.counters.get("config_reloads{result=taken}", 0.0) == expected
            if not expected:
                hang_up(process)
        control.close(linger=0)
