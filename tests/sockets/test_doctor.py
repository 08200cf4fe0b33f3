"""`doctor` beside real stages: healthy, and with each of them down, stopped, or of another kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from pipeline.event import CANARY_LABEL
from pipeline.sockets import drain_router, ingest_control, shard_events
from pipeline.wire import StatsReply, decode_frame, encode, split_events
from tests.harness import PATIENCE, Pipeline, Process, deadline
from tests.sockets.peers import Peers

HOPS = ["emitter", "ack", "publish", "websocket"]
AT_MOST_S = 20.0
"""Not a measure of speed: what is down must not make it wait for ever."""


class Report:
    """What a doctor said.

    Attributes:
        code: its exit code.
        checks: name -> what stands of it in the JSON.
    """

    def __init__(self, run_dir: Path, *args: str, env: dict[str, str] | None = None) -> None:
        process = Process("doctor", "--run-dir", str(run_dir), "--json", *args, env=env)
        try:
            self.code = process.wait(AT_MOST_S)
            assert process.errors == ""
            document = json.loads(process.output)
        finally:
            process.close()
        self.checks: dict[str, dict[str, Any]] = {check["name"]: check for check in document["checks"]}
        assert len(self.checks) == len(document["checks"])
        assert document["healthy"] == (self.code == 0)

    def of(self, status: str) -> list[str]:
        return [name for name, check in self.checks.items() if check["status"] == status]

    def hops(self) -> list[str]:
        return [self.checks[name]["status"] for name in HOPS]


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    pipeline.start()
    return pipeline


def test_a_healthy_pipeline(whole: Pipeline) -> None:
    report = Report(whole.run_dir)
    assert report.code == 0
    assert report.of("failed") == report.of("skipped") == []  # a busy machine may be warned of
    assert [f"shard-{shard}" in report.checks for shard in range(whole.shards)] == [True] * whole.shards
    latencies = [report.checks[name]["latency_ms"] for name in HOPS]
    assert all(0 < latency < AT_MOST_S * 1000 for latency in latencies)
    assert report.checks["ready"]["figures"]["url"] == f"{whole.url}/"  # found by itself
    assert report.checks[f"disk of {whole.data_dir}"]["figures"]["free_bytes"] > 0


def test_it_says_so_in_words_too(whole: Pipeline) -> None:
    process = Process("doctor", "--run-dir", str(whole.run_dir), "--edge", f"{whole.url}/")
    try:
        assert process.wait(AT_MOST_S) == 0
        lines = process.output.splitlines()
    finally:
        process.close()
    assert lines[-1].startswith("healthy")
    assert not [line for line in lines if line.startswith(("failed", "skipped"))]
    assert any(" ms: a browser has it from the edge" in line for line in lines)


def test_its_verdict_stands_though_its_reader_has_gone(whole: Pipeline) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pipeline", "doctor", "--run-dir", str(whole.run_dir)]
    try:
        done = subprocess.run(
            command, stdout=write, stderr=subprocess.PIPE, timeout=60 * PATIENCE, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_canary_says_that_it_is_one(whole: Pipeline) -> None:
    """By a label, so that nobody is notified of its end."""
    names = [shard_events(shard) for shard in range(whole.shards)]
    with Peers(whole.run_dir) as peers:
        frames = peers.connect(zmq.SUB, *names, subscribe=(b"F|scan/doctor-",))
        report = Report(whole.run_dir)
        started = json.loads(split_events(decode_frame(frames.recv()).body)[0])
    assert report.code == 0
    assert started["labels"] == {CANARY_LABEL: "doctor"}


def test_the_canary_does_not_stay(whole: Pipeline) -> None:
    canary = Report(whole.run_dir).checks["canary"]
    scan_id = canary["figures"]["scan_id"]
    assert canary["text"] == f"scan {scan_id} has ended, and is removed"
    assert whole.get(f"/api/scans/{scan_id}")[0] == 404
    assert whole.get("/api/scans")[1]["scans"] == []


def test_ingest_is_down(whole: Pipeline) -> None:
    whole.processes["ingest-0"].kill()
    report = Report(whole.run_dir)
    assert report.code == 1
    assert report.of("failed") == ["ingest-0", "emitter"]
    assert report.hops() == ["failed", "skipped", "skipped", "skipped"]
    assert "not running" in report.checks["ingest-0"]["text"]
    assert "bin/ingest" in report.checks["ingest-0"]["remedy"]


def test_a_worker_is_down(whole: Pipeline) -> None:
    whole.processes["throttle-batch-0"].kill()
    report = Report(whole.run_dir)
    assert report.code == 1
    failed = set(report.of("failed")) - {"ready"}  # the edge waits for a while before it says so
    assert failed == {*(f"shard-{shard}" for shard in range(4)), "ack"}
    assert report.hops() == ["skipped", "failed", "skipped", "skipped"]
    assert report.checks["layout"]["status"] == "skipped"
    assert "canary" not in report.checks  # none waits in a queue for the worker to come back


def test_one_of_two_workers_is_down(pipeline: Pipeline) -> None:
    pipeline.start(workers=2)
    pipeline.processes["throttle-batch-0"].kill()
    report = Report(pipeline.run_dir)
    assert report.code == 1
    assert {"shard-0", "shard-2", "layout"} <= set(report.of("failed"))
    assert report.checks["layout"]["text"] == "no sign of life from shard 0, 2 of 4"
    assert report.checks["canary"]["figures"]["shard"] in (1, 3)
    assert report.hops() == ["ok"] * 4  # the way over the other worker is fine


def test_a_worker_is_stopped(whole: Pipeline) -> None:
    worker = whole.processes["throttle-batch-0"].popen
    worker.send_signal(signal.SIGSTOP)
    try:
        report = Report(whole.run_dir)
    finally:
        worker.send_signal(signal.SIGCONT)
    assert report.code == 1
    assert report.checks["shard-0"]["text"] == f"process {worker.pid} is stopped (SIGSTOP, or a debugger)"
    assert f"kill -CONT {worker.pid}" in report.checks["shard-0"]["remedy"]
    assert report.hops() == ["skipped", "failed", "skipped", "skipped"]
    healthy_again(whole)


def healthy_again(whole: Pipeline) -> None:
    """See the advice help."""
    whole.wait_ready()
    assert Report(whole.run_dir).code == 0


def test_the_edge_is_down(whole: Pipeline) -> None:
    whole.processes["edge-0"].kill()
    report = Report(whole.run_dir, "--edge", f"{whole.url}/")
    assert report.code == 1
    assert report.of("failed") == ["edge-0", "ready", "websocket"]
    assert report.hops() == ["ok", "ok", "ok", "failed"]
    assert "refused" in report.checks["ready"]["text"]
    assert report.checks["canary"]["status"] == "ok"


def test_the_edge_is_stopped(whole: Pipeline) -> None:
    edge = whole.processes["edge-0"].popen
    edge.send_signal(signal.SIGSTOP)
    try:
        report = Report(whole.run_dir)
    finally:
        edge.send_signal(signal.SIGCONT)
    assert report.of("failed") == ["edge-0", "ready", "websocket"]
    assert report.hops() == ["ok", "ok", "ok", "failed"]


def test_the_edge_is_that_of_another_pipeline(
    whole: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = Path(tmp_path_factory.mktemp("other"))
    place.chmod(0o700)
    other = Pipeline(place)
    try:
        other.start()
        report = Report(whole.run_dir, "--edge", f"{other.url}/")
    finally:
        other.close()
    assert report.of("failed") == ["websocket"]
    assert "it did not come within" in report.checks["websocket"]["text"]
    assert "another pipeline" in report.checks["websocket"]["remedy"]


@pytest.mark.system
def test_an_edge_that_speaks_https(pipeline: Pipeline) -> None:
    """It is found among what the edge listens on; its certificate has to be named."""
    place = pipeline.run_dir.parent
    certificate, key = place / "certificate.pem", place / "key.pem"
    wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    subprocess.run(
        [
            "openssl",
            *wanted.split(),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
        timeout=AT_MOST_S * PATIENCE,
    )
    tls = {"edge": f'[http]\ncertificate = "{certificate}"\nkey = "{key}"\n'}
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name).wait_for("ready")
    edge = pipeline.start_one("edge-0", config=tls).wait_for("ready")["edge"]
    report = Report(pipeline.run_dir)
    assert report.of("failed") == ["ready", "websocket"]
    assert "SSL_CERT_FILE" in report.checks["ready"]["remedy"]
    report = Report(pipeline.run_dir, env={"SSL_CERT_FILE": str(certificate)})
    assert report.hops() == ["ok"] * 4
    assert report.checks["ready"]["figures"]["url"] == edge


def test_the_disk_is_nearly_full(whole: Pipeline) -> None:
    free = shutil.disk_usage(whole.data_dir).free
    report = Report(whole.run_dir, "--min-free", str(2 * free // 2**20 + 1))
    assert report.code == 1
    assert report.of("failed") == [f"disk of {whole.data_dir}"]
    assert report.hops() == ["ok"] * 4


def test_a_journal_cannot_be_written(pipeline: Pipeline) -> None:
    full = {"throttle-batch": f"[journal]\nmin_free_bytes = {2**40}\n"}
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name, config=full).wait_for("ready")
    report = Report(pipeline.run_dir, "--edge", "http://127.0.0.1:1/")
    assert report.code == 1
    assert report.of("failed") == ["edge", "journal", "ready", "ack"]
    assert report.checks["ack"]["text"] == "no shard can write its journal"


def test_nobody_is_there(run_dir: Path) -> None:
    report = Report(run_dir, "--edge", "http://127.0.0.1:1/")
    assert report.code == 1
    assert report.of("failed") == ["ingest", "shard", "edge", "ready", "emitter"]


def test_stages_of_different_versions(whole: Pipeline) -> None:
    """An ingest of another version, played: it answers the question for its figures."""
    stop = threading.Event()
    with Peers(whole.run_dir) as peers:
        control = peers.bind(zmq.ROUTER, ingest_control(1))

        def answer() -> None:
            while not stop.is_set():
                if control.poll(20):
                    for peer, message in drain_router(control, 100):
                        number = json.loads(message).get("id", 0)
                        reply = StatsReply(number, "ingest-1", {}, os.getpid(), "0.0.9")
                        control.send_multipart((peer, encode(reply)))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            report = Report(whole.run_dir)
        finally:
            stop.set()
            thread.join()
    assert report.code == 1
    assert "versions" in report.of("failed")
    assert "ingest-1 0.0.9" in report.checks["versions"]["text"]


def test_a_data_directory_of_another_layout(whole: Pipeline, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "layout.json").write_text((whole.data_dir / "layout.json").read_text().replace("4", "3", 1))
    report = Report(whole.run_dir, "--data-dir", str(tmp_path))
    assert report.code == 1
    assert report.of("failed") == ["layout"]
    assert report.checks["layout"]["text"] == f"{tmp_path} was made with 3 shards, but the workers say 4"


def test_workers_of_different_layouts(pipeline: Pipeline) -> None:
    common = ["throttle-batch", "--run-dir", str(pipeline.run_dir), "--log-format", "json"]
    data = str(pipeline.data_dir)
    workers = [
        Process(*common, "--shards", "2", "--own", "0", "--data-dir", f"{data}-a"),
        Process(*common, "--shards", "3", "--own", "1", "--data-dir", f"{data}-b"),
    ]
    try:
        for worker in workers:
            worker.wait_for("ready")
        report = Report(pipeline.run_dir, "--edge", "http://127.0.0.1:1/")
    finally:
        for worker in workers:
            worker.close()
    assert "layout" in report.of("failed")
    assert report.checks["layout"]["text"] == "workers disagree about the number of shards: 2, 3"


@pytest.mark.parametrize(
    "flags", [["--edge", "ftp://x/"], ["--edge", "8800"], ["--min-free", "-1"], ["--timeout", "0"]]
)
def test_wrong_usage_is_2(run_dir: Path, flags: list[str]) -> None:
    process = Process("doctor", "--run-dir", str(run_dir), *flags)
    try:
        assert process.wait(AT_MOST_S) == 2
    finally:
        process.close()


def test_its_time_is_bounded(whole: Pipeline) -> None:
    """Everything stopped at once: each wait is cut short by what is left of the whole."""
    stopped = [process.popen for process in whole.processes.values()]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    end = deadline(AT_MOST_S)
    try:
        report = Report(whole.run_dir, "--timeout", "2")
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)
    assert time.monotonic() < end
    assert report.code == 1
    assert report.checks["ingest-0"]["status"] == report.checks["edge-0"]["status"] == "failed"
