"""A pipeline whose every ZeroMQ socket is at a TCP address, with keys; an address book tells where."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from websockets.sync.client import connect

from pipeline import Emitter, NotDelivered
from pipeline.sockets import bound_by
from tests.e2e.test_up import Up
from tests.harness import PATIENCE, Process, deadline, free_port, private_dir
from tests.keyring import ANY, Keyring

SHARDS = 2
SCAN = [
    {"type": "scanStarted"},
    {"type": "hostDiscovered", "ip": "10.0.0.5"},
    {"type": "scanCompleted"},
]


@pytest.fixture
def place() -> Iterator[Path]:
    with private_dir() as path:
        yield path


class Spread:
    """Stages that meet by TCP alone: each has a run directory of its own."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.keys = Keyring(place)
        self.keys.make("stage", "stage")
        self._place = place
        self._stack = stack
        self.addresses: dict[str, str] = {}
        self.worker = self.start("throttle-batch", "--data-dir", str(place / "data"))
        self.ingest = self.start("ingest")
        self.edge = self.start("edge", "--port", "0")
        self.book = self.keys.book(self.addresses, name="all")

    def start(self, stage: str, *args: str) -> Process:
        """Start a stage on any free ports, and learn which."""
        own = bound_by(stage, 0, range(SHARDS))
        book = self.keys.book(self.addresses | dict.fromkeys(own, ANY), name=stage)
        process = Process(
            stage,
            *self.keys.flags(book),
            *(
                "--run-dir",
                str(self._place / f"run-{stage}"),
                "--shards",
                str(SHARDS),
                "--log-format",
                "json",
            ),
            *args,
        )
        self._stack.callback(process.close)
        for name in own:
            bound = process.wait_for("bound", socket=name)
            assert bound["keys"] is True
            self.addresses[name] = bound["address"]
        self.ready = process.wait_for("ready")
        assert not [path for path in (self._place / f"run-{stage}").iterdir() if path.is_socket()]
        return process

    def run(self, *args: str, key: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *args, *self.keys.flags(self.book, key, binds=False)],
            cwd=self._place,
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )


@pytest.fixture
def spread(place: Path) -> Iterator[Spread]:
    with ExitStack() as stack:
        yield Spread(place, stack)


def test_an_event_goes_all_the_way_over_tcp_with_keys(spread: Spread, place: Path) -> None:
    """From emit over ingest, worker and edge to a browser; and to tail."""
    spread.keys.make("ada")
    spread.keys.make("reader", "read")
    spread.worker.popen.send_signal(signal.SIGHUP)  # both were let in since it was started
    spread.ingest.popen.send_signal(signal.SIGHUP)
    for process in (spread.worker, spread.ingest):
        process.wait_for("allow-list read anew", peers=3)
    scan = place / "scan.ndjson"
    scan.write_text("".join(json.dumps(event) + "\n" for event in SCAN))
    sent = spread.run("emit", "--scan", "office", str(scan), key="ada")
    assert sent.returncode == 0, sent.stderr
    with connect(
        spread.ready["edge"].replace("http", "ws") + "ws/scans/office?since=start",
        subprotocols=["scanstream.v1.json"],
    ) as browser:
        shown: list[dict[str, object]] = []
        while len(shown) < len(SCAN):
            message = json.loads(browser.recv(timeout=30 * PATIENCE))
            shown += message["events"] if message["type"] == "batch" else []
    assert shown == [{**SCAN[0], "owner": "ada"}, *SCAN[1:]], "a scan is its key's"
    tailed = spread.run("tail", "--scan", "office", "--from-start", "--until-complete", "--raw", key="reader")
    assert tailed.returncode == 0, tailed.stderr
    assert [json.loads(line) for line in tailed.stdout.splitlines()] == shown


def test_the_doctor_finds_every_stage_over_tcp_and_its_canary_comes_through(spread: Spread) -> None:
    end = deadline(120)
    while True:  # it waits for each hop as long as a pipeline may take that is well: not for a busy machine
        seen = spread.run("doctor", "--json", "--edge", spread.ready["edge"], key="stage")
        if seen.returncode == 0:
            break
        assert time.monotonic() < end, seen.stdout + seen.stderr
    names = {one["name"] for one in json.loads(seen.stdout)["checks"]}
    assert {"ingest-0", "shard-0", "shard-1", "edge-0"} <= names


def test_a_producer_whose_key_is_not_allowed_gets_nothing_through_and_is_told(spread: Spread) -> None:
    stranger = spread.keys.make("stranger", allowed=False)
    with closing(Emitter("office", endpoints=spread.book, key_file=spread.keys.file("stranger"))) as emitter:
        emitter.emit(SCAN[0])
        spread.ingest.wait_for(
            "connection refused", reason="unknown_key", socket="ingest-0.control", key=stranger.public
        )
        with pytest.raises(NotDelivered, match=r"refuses this key: .* is not in its allow-list") as caught:
            emitter.close(5 * PATIENCE)
        assert stranger.public in str(caught.value)
    assert spread.ingest.terminate() == 0
    stopped = spread.ingest.lines[-1]
    assert stopped["peers_refused{reason=unknown_key}"] > 0
    assert "events" not in stopped


def test_a_producer_without_a_key_is_told_what_it_needs(spread: Spread) -> None:
    bare = spread.keys.book(spread.addresses, server="", name="bare")
    with closing(Emitter("office", endpoints=bare)) as emitter:
        emitter.emit(SCAN[0])
        spread.ingest.wait_for("connection refused", reason="mechanism", socket="ingest-0.control")
        with pytest.raises(NotDelivered, match="lets in nobody without a key: give --key-file"):
            emitter.close(5 * PATIENCE)


def test_a_reader_whose_key_is_for_producing_is_told_after_a_while(spread: Spread) -> None:
    """A worker does not answer it; so it is told what may be the matter."""
    ada = spread.keys.make("ada")
    spread.worker.popen.send_signal(signal.SIGHUP)
    spread.worker.wait_for("allow-list read anew", peers=2)
    args = ("tail", "--scan", "office", *spread.keys.flags(spread.book, "ada", binds=False))
    with closing(Process(*args)) as reader:
        spread.worker.wait_for("connection refused", reason="role", peer="ada")
        end = deadline(30)
        while f"if it runs, it does not let in this key: {ada.public}" not in reader.errors:
            assert time.monotonic() < end, reader.errors
            threading.Event().wait(0.05)
        assert reader.output == ""


def test_emit_needs_no_book_if_it_is_told_the_ingest_s_two_addresses(spread: Spread, place: Path) -> None:
    scan = place / "scan.ndjson"
    scan.write_text("".join(json.dumps(event) + "\n" for event in SCAN))
    data, control = (spread.addresses[name] for name in bound_by("ingest", 0, ()))
    told = ["--connect", f"{data},{control}", "--server-key", spread.keys.public["stage"]]
    key = ["--key-file", spread.keys.file("stage")]
    for args, code, said in (
        (["--run-dir", str(place), *told, *key], 2, "leave out --endpoints and --run-dir"),
        (["--server-key", told[-1], *key], 2, "--server-key goes with --connect"),
        (told, 78, "--server-key needs --key-file"),
        ([*told, *key], 0, "sent 3 events"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "emit", "--scan", "office", *args, str(scan)],
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == code, done.stderr
        assert said in done.stderr


def test_up_runs_a_whole_pipeline_over_tcp_with_keys(place: Path) -> None:
    keys = Keyring(place)
    keys.make("stage", "stage")
    keys.make("ada")
    names = [
        name for stage in ("ingest", "throttle-batch", "edge") for name in bound_by(stage, 0, range(SHARDS))
    ]
    first = free_port(len(names))
    book = keys.book({name: f"tcp://127.0.0.1:{first + number}" for number, name in enumerate(names)})
    with closing(Up(place, "--shards", str(SHARDS), *keys.flags(book))) as up:
        up.ready()
        with Emitter("office", endpoints=book, key_file=keys.file("ada")) as emitter:
            for event in SCAN:
                emitter.emit(event)
        assert sorted(path.name for path in up.run_dir.iterdir() if path.is_socket()) == []
        assert up.terminate() == 0


@pytest.mark.parametrize("command", ["emit", "tail", "doctor", "top"])
def test_a_key_that_others_can_read_is_named_and_nothing_is_done(place: Path, command: str) -> None:
    keys = Keyring(place)
    keys.make("ada")
    Path(keys.file("ada")).chmod(0o640)
    with closing(Process(command, "--run-dir", str(place), "--key-file", keys.file("ada"))) as process:
        assert process.wait() == 78
        assert process.errors == (
            f"error: {keys.file('ada')}: mode is 0640; a secret key needs 0600: chmod 600 {keys.file('ada')}"
        )
        assert process.output == ""
