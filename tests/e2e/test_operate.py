"""`doctor` and `top` beside a pipeline that `up` runs: everything is found without being told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import Emitter
from tests.harness import Pipeline, Process, private_dir

WAIT_S = 30.0


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """Give the run directory of a running `up`, with two of each and a demo."""
    with private_dir() as place, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        running = Process(
            *["up", "--demo", "--run-dir", str(place / "run"), "--data-dir", str(place / "data")],
            *["--port", port, "--ingests", "2", "--workers", "2", "--edges", "2"],
            *["--log-format", "json", "--log-level", "debug"],
        )
        try:
            running.wait_for("started", WAIT_S, program="demo")  # which it starts when everything is ready
            yield place / "run"
        finally:
            assert running.terminate(WAIT_S) == 0
            running.close()


def output(*args: str) -> str:
    process = Process(*args)
    try:
        assert process.wait(WAIT_S) == 0, process.output
    finally:
        process.close()
    assert process.errors == ""
    return process.output


def test_all_is_well_and_shown(run_dir: Path) -> None:
    report = json.loads(output("doctor", "--json", "--run-dir", str(run_dir)))
    assert report["healthy"]
    checks = {check["name"]: check for check in report["checks"]}
    stages = [f"ingest-{index}" for index in range(2)] + [f"shard-{index}" for index in range(4)]
    stages += [f"edge-{index}" for index in range(2)]
    assert [checks[name]["text"].startswith("process ") for name in stages] == [True] * len(stages)
    assert all(checks[name]["latency_ms"] > 0 for name in ("emitter", "ack", "publish", "websocket"))
    shown = json.loads(output("top", "--json", "--run-dir", str(run_dir)))
    assert [stage["name"] for stage in shown["stages"]] == stages
    assert "scan/demo" in [scan["channel"] for scan in shown["scans"]]
    text = output("top", "--once", "--run-dir", str(run_dir))
    assert all(sum(line.startswith(name) for line in text.splitlines()) == 1 for name in stages)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ({"type": "scanCompleted"}, 0, ""),
        ({"type": "error", "message": "no route"}, 1, "error: scan/office failed: no route"),
    ],
)
def test_a_script_waits_for_the_end_of_a_scan(
    pipeline: Pipeline, end: dict[str, str], code: int, told: str
) -> None:
    pipeline.start()
    place = ["--run-dir", str(pipeline.run_dir), "--scan", "office"]
    tail = Process("tail", *place, "--until-complete", "--from-start", "--template", "{seq} {type}")
    try:
        with Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted"})
            emitter.emit(end)
        assert tail.wait(WAIT_S) == code
        assert tail.output.splitlines() == ["1 scanStarted", f"2 {end['type']}"]
        assert tail.errors == told
    finally:
        tail.close()
