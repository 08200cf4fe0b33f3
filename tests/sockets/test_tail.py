"""`tail` as a process, on frames that the test publishes itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.frame import Frame
from pipeline.sockets import Binder, shard_events
from pipeline.wire import encode_frame
from tests.harness import PATIENCE, Process

Start = Callable[..., Process]


class Publisher:
    """A shard's XPUB socket, without a worker behind it."""

    def __init__(self, run_dir: Path, shard: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self.socket = self._binder.bind(zmq.XPUB, shard_events(shard), high_water_mark=1_000)
        self.socket.setsockopt(zmq.RCVTIMEO, int(20_000 * PATIENCE))

    def joined(self) -> bytes:
        """Wait until somebody subscribes; return the topic."""
        while True:
            message = self.socket.recv()
            if message[:1] == b"\x01":  # and not a leaving
                return message[1:]

    def publish(
        self, *types: str, scan: str = "demo", epoch: int = 1, first: int = 1, critical: bool = False
    ) -> None:
        """Publish a frame of one event of each type, numbered from `first`."""
        events = tuple(json.dumps({"type": name}).encode() for name in types)
        last = first + len(types) - 1
        self.socket.send(encode_frame(Frame(f"scan/{scan}", epoch, first, last, events, critical=critical)))

    def close(self) -> None:
        self._binder.close()
        self._context.term()


@pytest.fixture
def publisher(run_dir: Path) -> Iterator[Publisher]:
    found = Publisher(run_dir)
    yield found
    found.close()


@pytest.fixture
def tail(run_dir: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(*args: str, env: dict[str, str] | None = None) -> Process:
        started.append(Process("tail", "--run-dir", str(run_dir), *args, env=env))
        return started[-1]

    yield start
    for process in started:
        process.close()


def ended(process: Process, code: int = 0) -> list[str]:
    """Wait for its end; return the lines it printed, each without its time."""
    assert process.wait() == code, process.lines
    return [line.partition(" ")[2] for line in process.output.splitlines()]


def test_prints_events_until_the_count(publisher: Publisher, tail: Start) -> None:
    process = tail("-n", "3")
    assert publisher.joined() == b"F|"
    publisher.publish("scanStarted", critical=True)
    publisher.publish("a", "b", "c", first=2)
    assert ended(process) == ["demo 1 scanStarted", "demo 2 a", "demo 3 b"]
    assert process.errors == ""


def test_numbers_are_those_of_the_events_also_when_some_were_merged(
    publisher: Publisher, tail: Start
) -> None:
    process = tail("-n", "2")
    publisher.joined()
    events = (b'{"type":"a"}', b'{"type":"b"}')
    publisher.socket.send(encode_frame(Frame("scan/demo", 1, 10, 15, events, merged=4, at=(2, 5))))
    assert ended(process) == ["demo 12 a", "demo 15 b"]


def test_only_the_scans_asked_for_are_subscribed_to(publisher: Publisher, tail: Start) -> None:
    process = tail("--scan", "one", "--scan", "two", "-n", "2")
    assert {publisher.joined(), publisher.joined()} == {b"F|scan/one|", b"F|scan/two|"}
    for scan in ("other", "one", "onemore", "two"):
        publisher.publish("a", scan=scan)
    assert ended(process) == ["one 1 a", "two 1 a"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--type", "a"], ["1 a", "5 a"]),
        (["--type", "a", "--type", "c"], ["1 a", "3 c", "5 a"]),
        (["--not-type", "a", "--not-type", "end"], ["2 b", "3 c", "4 b"]),
        (["--type", "a", "--type", "b", "--not-type", "b"], ["1 a", "5 a"]),
    ],
)
def test_types(publisher: Publisher, tail: Start, flags: list[str], expected: list[str]) -> None:
    process = tail(*flags, "-n", str(len(expected)))
    publisher.joined()
    publisher.publish("a", "b", "c", "b", "a", "end")
    assert ended(process) == [f"demo {line}" for line in expected]


def test_json_raw_and_frames(publisher: Publisher, tail: Start) -> None:
    raw = b'{"type":"a", "x": 1.50}'
    styles = {style: tail(style, "-n", "1") for style in ("--json", "--raw", "--frames")}
    for _ in styles:
        publisher.joined()
    publisher.socket.send(encode_frame(Frame("scan/demo", 7, 4, 4, (raw,), critical=True)))
    for process in styles.values():
        assert process.wait() == 0
    assert json.loads(styles["--json"].output) == {
        "channel": "scan/demo",
        "epoch": 7,
        "seq": 4,
        "event": {"type": "a", "x": 1.5},
    }
    assert styles["--raw"].output == raw.decode() + "\n"
    size = len(encode_frame(Frame("scan/demo", 7, 4, 4, (raw,), critical=True)))
    assert styles["--frames"].output.endswith(f" demo 7:4-4 events=1 merged=0 bytes={size} critical\n")


def test_a_gap_is_told_and_counted_and_what_comes_again_is_not_printed_twice(
    publisher: Publisher, tail: Start
) -> None:
    process = tail("-n", "4")
    publisher.joined()
    publisher.publish("a", "b", first=5)
    publisher.publish("a", "b", "c", first=5)
    publisher.publish("d", first=10)
    assert ended(process) == ["demo 5 a", "demo 6 b", "demo 7 c", "demo 10 d"]
    assert process.errors.splitlines() == [
        "gap: scan/demo: 2 events missed, 1:8-9",
        "missed 2 events in 1 gaps",
    ]


def test_every_shard_is_read_also_one_that_comes_later(
    run_dir: Path, publisher: Publisher, tail: Start
) -> None:
    process = tail("-n", "2")
    publisher.joined()
    publisher.publish("a", scan="one")
    later = Publisher(run_dir, shard=11)
    try:
        later.joined()
        later.publish("b", scan="two")
        assert ended(process) == ["one 1 a", "two 1 b"]
    finally:
        later.close()


def test_waits_for_a_pipeline_that_is_not_there_yet(run_dir: Path, tail: Start) -> None:
    process = tail("-n", "1")
    process.wait_for(None, text=f"waiting for a pipeline in {run_dir}")
    publisher = Publisher(run_dir)
    try:
        publisher.joined()
        publisher.publish("a")
        assert ended(process) == ["demo 1 a"]
    finally:
        publisher.close()


def test_a_timeout_names_what_did_not_come(publisher: Publisher, tail: Start) -> None:
    process = tail("--scan", "demo", "--type", "b", "-n", "2", "--timeout", "0.3")
    assert ended(process, 1) == []
    assert process.errors == "error: 0 of 2 events of type b of scan demo came within 0.3 s"


def test_a_timeout_without_a_count_is_a_good_end(publisher: Publisher, tail: Start) -> None:
    process = tail("--timeout", "0.3")
    assert ended(process) == []
    assert process.errors == ""


def test_a_timeout_without_a_pipeline_says_where_it_looked(run_dir: Path, tail: Start) -> None:
    process = tail("-n", "1", "--timeout", "0.2")
    assert ended(process, 1) == []
    assert process.errors.endswith(f"came within 0.2 s; no pipeline is found in {run_dir}")


def test_ctrl_c_ends_with_130(publisher: Publisher, tail: Start) -> None:
    process = tail()
    publisher.joined()
    process.popen.send_signal(2)
    assert ended(process, 130) == []


def test_a_reader_that_goes_ends_it_quietly_without_another_event(
    run_dir: Path, publisher: Publisher
) -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir)]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    try:
        os.close(write)
        publisher.joined()
        publisher.publish("a")
        assert os.read(read, 1_000).endswith(b" demo 1 a\n")  # flushed although it is no terminal
        os.close(read)
        _, errors = process.communicate(timeout=20 * PATIENCE)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def test_a_reader_that_stands_still_holds_up_nobody(run_dir: Path, publisher: Publisher) -> None:
    """The publisher drops for it, as a worker does; when it reads on it is told how much."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir), "--raw"]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    try:
        os.close(write)
        publisher.joined()
        body = json.dumps({"type": "a", "x": "y" * 4_000}).encode()
        sent = 8_000  # more than all queues on the way hold
        for seq in range(1, sent + 1):
            publisher.socket.send(encode_frame(Frame("scan/demo", 1, seq, seq, (body,))), zmq.NOBLOCK)
        printed = 0
        with os.fdopen(read, "rb") as reader:
            for line in reader:
                if b"last" in line:
                    break
                printed += 1
                publisher.publish("last", first=sent + 1)  # until there is room for it
            process.send_signal(2)
            assert reader.read() == b""
        _, errors = process.communicate(timeout=20 * PATIENCE)
        assert process.returncode == 130
        assert 0 < printed < sent
        assert f"\nmissed {sent - printed} events in " in errors.decode()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "flags",
    [["--scan", "a/b"], ["-n", "0"], ["--timeout", "0"], ["--frames", "--type", "a"], ["--since", "1"]],
)
def test_wrong_usage_is_2(tail: Start, flags: list[str]) -> None:
    assert ended(tail(*flags), 2) == []


def test_on_a_terminal_nothing_hostile_gets_through(run_dir: Path, publisher: Publisher) -> None:
    raw = '{"type":"a","x":"\x9b2J\u202e"}'.encode()
    for flags in (["--raw"], ["--json"], []):
        main, side = os.openpty()
        command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir), "-n", "1", *flags]
        process = subprocess.Popen(command, stdout=side, env={**os.environ, "NO_COLOR": "1"})
        os.close(side)
        try:
            publisher.joined()
            publisher.socket.send(encode_frame(Frame("scan/demo", 1, 1, 1, (raw,))))
            shown = b""
            while not shown.endswith(b"\r\n"):
                shown += os.read(main, 1_000)
            assert process.wait(20 * PATIENCE) == 0
            assert shown[:-2].decode().isprintable()
            assert b"202e" in shown
        finally:
            process.kill()
            process.wait()
            os.close(main)
