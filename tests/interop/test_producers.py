"""Producers in other languages, written after docs/PROTOCOL.md: nothing is lost or doubled whoever dies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pipeline.wire import StatsRequest, encode
from tests.harness import PATIENCE, Pipeline, deadline, private_dir
from tests.sockets.peers import Peers, receive

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".venv" / "interop"
"""Where bin/test puts the npm packages."""
EVENTS = 5_000
BAD = 1_234
"""The number of the one that is not valid."""


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """Give a pipeline that is not started yet."""
    with private_dir() as place:
        made = Pipeline(place)
        yield made
        made.close()


@pytest.fixture(params=["c", "javascript"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """Give the command of a producer, and its environment."""
    if request.param == "c":
        binary = tmp_path / "producer"
        cc = ["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(binary), str(HERE / "producer.c")]
        subprocess.run([*cc, "-lzmq", "-lcjson"], check=True)
        return [str(binary)], dict(os.environ)
    node = shutil.which("node")
    assert node
    # The module is looked up beside this file, which need not be there.
    return [node, str(HERE / "producer.mjs")], {
        **os.environ,
        "INTEROP_MODULES": str(MODULES / "package.json"),
    }


def events() -> list[str]:
    """Return a scan: each event is recognised by its port; one is not valid."""
    ports = [
        {"type": "portFound", "ip": "10.0.0.5", "port": number, "protocol": "TCP", "state": "Open"}
        for number in range(2, EVENTS)
    ]
    ports[BAD - 2]["port"] = 70_000
    return [json.dumps(event) for event in ({"type": "scanStarted"}, *ports, {"type": "scanCompleted"})]


def kept(pipeline: Pipeline, scan: str) -> list[dict[str, Any]]:
    """Return all events of a scan."""
    found: list[dict[str, Any]] = []
    since = ""
    while True:
        status, page = pipeline.get(f"/api/scans/{scan}/events?limit=5000{since}")
        assert status == 200, page
        if not page["events"]:
            return found
        found += page["events"]
        since = f"&since={page['next']}"


def test_it_sends_everything_and_says_what_was_refused(
    pipeline: Pipeline, command: tuple[list[str], dict[str, str]]
) -> None:
    pipeline.start()
    said = play(pipeline, command, "quiet")
    check(pipeline, "quiet", said)


def test_its_ingest_and_the_worker_die_and_all_arrives_once(
    pipeline: Pipeline, command: tuple[list[str], dict[str, str]]
) -> None:
    pipeline.start(ingests=2)
    worker = pipeline.processes["throttle-batch-0"]
    worker.kill()
    worker.close()
    program, environment = command
    with subprocess.Popen(
        [*program, str(pipeline.run_dir), "unquiet", "interop"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as producer:
        try:
            assert producer.stdin is not None
            producer.stdin.write("\n".join(events()) + "\n")
            producer.stdin.close()
            wait_until_it_has_some(pipeline)
            pipeline.processes["ingest-0"].kill()
            pipeline.start_one("throttle-batch-0")
            assert producer.wait(60) == 0
            assert producer.stdout is not None
            said = json.loads(producer.stdout.read())
        finally:
            producer.kill()
    check(pipeline, "unquiet", said)


def play(pipeline: Pipeline, command: tuple[list[str], dict[str, str]], scan: str) -> dict[str, Any]:
    """Send the scan, and return what the producer said at its end."""
    program, environment = command
    done = subprocess.run(
        [*program, str(pipeline.run_dir), scan, "interop"],
        input="\n".join(events()) + "\n",
        capture_output=True,
        env=environment,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def wait_until_it_has_some(pipeline: Pipeline) -> None:
    """Wait until the first ingest has taken in events."""
    end = deadline(20)
    with Peers(pipeline.run_dir) as peers:
        control = peers.connect(zmq.DEALER, "ingest-0.control")
        while time.monotonic() < end:
            control.send(encode(StatsRequest(1)))
            if json.loads(receive(control))["counters"].get("events", 0) > 0:
                return
    raise AssertionError("nothing came to the ingest")


def check(pipeline: Pipeline, scan: str, said: dict[str, Any]) -> None:
    """See that everything but the bad one is there, once and in order."""
    assert said["committed"] == EVENTS
    assert [BAD, "schema"] in said["nacks"]
    assert all(nack == [BAD, "schema"] for nack in said["nacks"])
    found = kept(pipeline, scan)
    assert [event["type"] for event in (found[0], found[-1])] == ["scanStarted", "scanCompleted"]
    numbers = [event["port"] for event in found if event["type"] == "portFound"]
    assert numbers == [number for number in range(2, EVENTS) if number != BAD]
