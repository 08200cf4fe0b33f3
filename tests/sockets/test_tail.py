"""`tail` as a process, on frames that the test publishes itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from pipeline.frame import Frame
from pipeline.shards import HASH_NAME
from pipeline.sockets import Binder, drain_router, shard_events, shard_history
from pipeline.wire import (
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    ChannelSummary,
    Head,
    HeadReply,
    HeadRequest,
    PageHeader,
    PageRequest,
    StateHeader,
    StateRequest,
    decode_history_request,
    encode,
    encode_beacon,
    encode_frame,
    encode_page,
    encode_state,
)
from tests.harness import PATIENCE, Process, deadline

Start = Callable[..., Process]
DEMO = "scan/demo"
PAGE_EVENTS = 3


class Publisher:
    """A shard's XPUB socket, without a worker behind it."""

    def __init__(self, run_dir: Path, shard: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self.socket = self._binder.bind(zmq.XPUB, shard_events(shard), high_water_mark=1_000)
        self.socket.setsockopt(zmq.RCVTIMEO, int(20_000 * PATIENCE))

    def joined(self) -> bytes:
        """Wait until somebody subscribes to frames; return the topic."""
        while True:
            message = self.socket.recv()
            if message[:1] == b"\x01" and message[1:] != b"H|":  # and not a leaving
                return message[1:]

    def beacons_are_heard(self) -> None:
        """Wait until somebody subscribes to beacons, which a tail does last."""
        while self.socket.recv() != b"\x01H|":
            pass

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


@dataclass
class Life:
    """One life of a channel, as a worker's history has it.

    Attributes:
        events: those published, in their order.
        held: the oldest seq that can still be given.
        status: how it stands.
        error: what went wrong in it.
    """

    epoch: int
    events: list[bytes] = field(default_factory=list)
    held: int = 1
    status: str = "running"
    error: str | None = None


class Worker(Publisher):
    """The only shard's worker, played: frames and beacons when the test says so, history always.

    Attributes:
        lives: of every channel, oldest first; the last one is the present one.
        asked: the questions answered so far.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
        self.lives: dict[str, list[Life]] = {}
        self.asked: list[HeadRequest | PageRequest | ChannelsRequest | StateRequest] = []
        self._stop, stop = os.pipe()
        self._questions = self._binder.bind(zmq.ROUTER, shard_history(0), high_water_mark=1_000)
        self._thread = threading.Thread(target=self._serve, args=(self._stop,))
        self._stop = stop
        self._thread.start()

    def end(
        self, status: str, error: str | None = None, *, scan: str = "demo", epoch: int = 1, lost: bool = False
    ) -> None:
        """Number an event that ends a life, which then stands as told, and publish it."""
        self.add("end", scan=scan, epoch=epoch, lost=True)
        life = self.lives[f"scan/{scan}"][-1]
        life.status, life.error = status, error
        if not lost:
            seq = len(life.events)
            frame = Frame(f"scan/{scan}", epoch, seq, seq, (life.events[-1],), critical=True, terminal=True)
            self.socket.send(encode_frame(frame))

    def add(self, *types: str, scan: str = "demo", epoch: int = 1, lost: bool = False) -> None:
        """Number events, and publish them in one frame, unless it is lost on its way."""
        lives = self.lives.setdefault(f"scan/{scan}", [])
        if not lives or lives[-1].epoch != epoch:
            lives.append(Life(epoch))
        first = len(lives[-1].events) + 1
        lives[-1].events += [json.dumps({"type": name}).encode() for name in types]
        if not lost:
            self.publish(*types, scan=scan, epoch=epoch, first=first)

    def beacon(self, boot: str = "boot", *, of: Sequence[str] | None = None) -> None:
        """Tell how far every channel is, or only some."""
        heads = [
            Head(name, lives[-1].epoch, len(lives[-1].events), False)
            for name, lives in self.lives.items()
            if of is None or name in of
        ]
        self.socket.send(encode_beacon(Beacon(0, 1, HASH_NAME, boot, heads)))

    def close(self) -> None:
        os.write(self._stop, b"x")
        self._thread.join()
        os.close(self._stop)
        super().close()

    def _serve(self, stop: int) -> None:
        poller = zmq.Poller()
        poller.register(self._questions, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        while stop not in dict(poller.poll()):
            for peer, message in drain_router(self._questions, 100):
                request = decode_history_request(message)
                self._questions.send_multipart((peer, self._answer(request)))
                self.asked.append(request)  # type: ignore[arg-type]  # a tail asks for no counters
        os.close(stop)

    def _answer(self, request: object) -> bytes:
        if isinstance(request, ChannelsRequest):
            summaries = [
                ChannelSummary(
                    channel=name, epoch=lives[-1].epoch, seq=len(lives[-1].events), status="running",
                    phase=None, progress=None, started_ms=0, elapsed_s=0, frames=0, events=0, merged=0,
                    counts={}, best_effort=False,
                )
                for name, lives in self.lives.items()
            ]  # fmt: skip
            return encode(ChannelsReply(request.id, 0, summaries))
        assert isinstance(request, HeadRequest | PageRequest | StateRequest)
        lives = self.lives.get(request.channel, [])
        current = lives[-1] if lives else None
        if isinstance(request, HeadRequest):
            if current is None:
                return encode(HeadReply(request.id, request.channel))
            return encode(
                HeadReply(request.id, request.channel, current.epoch, len(current.events), current.held)
            )
        life = next((life for life in lives if life.epoch == request.epoch), None)
        if isinstance(request, StateRequest):
            life = life if request.epoch is not None else current
            if life is None:
                return encode_state(StateHeader(request.id, request.channel), None)
            header_line = encode(StateHeader(request.id, request.channel, life.epoch, len(life.events)))
            return header_line + b"\n" + json.dumps({"status": life.status, "error": life.error}).encode()
        first = max(request.first, life.held) if life else request.first
        events = life.events[first - 1 : first - 1 + PAGE_EVENTS] if life else []
        header = PageHeader(
            request.id,
            request.channel,
            request.epoch,
            first,
            first + len(events) - 1,
            len(life.events) if life else 0,
            life is not None,
            current.epoch if current else None,
            terminal=life is not None and life.status in ("completed", "failed"),
        )
        return encode_page(header, events)


@pytest.fixture
def worker(run_dir: Path) -> Iterator[Worker]:
    played = Worker(run_dir)
    yield played
    played.close()


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
    return [line.partition(" ")[2].lstrip() for line in process.output.splitlines()]


def printed(process: Process, count: int) -> None:
    """Wait until it has printed so many lines."""
    end = deadline(20)
    pause = threading.Event()
    while len(process.stdout) < count:
        assert time.monotonic() < end, process.lines
        pause.wait(0.01)


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
    assert process.errors == "merged: 4 progress reports replaced by later ones"


def test_what_comes_from_history_has_no_time_but_its_own(worker: Worker, tail: Start) -> None:
    worker.add("a", lost=True)
    worker.lives[DEMO][0].events.append(b'{"type":"b","ts":"2024-01-02T03:04:05.678"}')
    for flags, expected in (
        ([], "-            demo 1 a\n03:04:05.678 demo 2 b\n"),
        (["--template", "{time}|{seq}"], "-|1\n03:04:05.678|2\n"),
        (["--delta", "--template", "{seq}"], "- 1\n+0.000 2\n"),
    ):
        process = tail("--from-start", "--scan", "demo", *flags)
        listening(worker)
        assert process.wait() == 0
        assert process.output == expected


def test_what_comes_from_history_has_no_rate(worker: Worker, tail: Start) -> None:
    worker.add("a", "a", lost=True)
    process = tail("--from-start", "--scan", "demo", "--stats")
    listening(worker)
    assert ended(process) == ["demo a events=2 fresh=2 per_s=-"]


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


def listening(worker: Worker) -> None:
    """Wait until a tail has subscribed to everything it will, then tell it how many shards there are."""
    worker.beacons_are_heard()
    worker.beacon()


def printed_after_it_began(worker: Worker, process: Process) -> None:
    """See the question where to begin answered, so that it tells nothing of what comes later; print `b`."""
    end = deadline(20)
    pause = threading.Event()
    while not worker.asked:
        assert time.monotonic() < end, process.lines
        pause.wait(0.01)
    worker.add("b")
    printed(process, 1)


def test_a_gap_is_filled_and_what_comes_again_is_not_printed_twice(worker: Worker, tail: Start) -> None:
    worker.add(*"abcd")
    process = tail("-n", "8")
    listening(worker)
    worker.add("e", "f")
    worker.publish("e", "f", first=5)
    worker.add("g", "h", "i", "j", "k", lost=True)
    worker.add("l")
    worker.beacon()
    assert ended(process) == [f"demo {seq} {name}" for seq, name in enumerate("efghijkl", 5)]
    assert process.errors == "late: 6 events did not come live and are from history"


def test_a_lost_last_frame_shows_by_the_beacon(worker: Worker, tail: Start) -> None:
    worker.add("a")
    process = tail("-n", "3", "--scan", "demo")
    listening(worker)
    printed_after_it_began(worker, process)
    worker.add("c", "d", lost=True)
    worker.beacon()
    assert ended(process) == ["demo 2 b", "demo 3 c", "demo 4 d"]


def test_what_is_no_longer_held_is_told_and_counted(worker: Worker, tail: Start) -> None:
    worker.add(*"abc")
    worker.add(*"defgh", lost=True)
    worker.lives[DEMO][0].held = 6
    process = tail("--scan", "demo", "--since", "1:2", "--follow", "-n", "4")
    listening(worker)
    worker.add("i")
    assert ended(process) == ["demo 6 f", "demo 7 g", "demo 8 h", "demo 9 i"]
    assert process.errors.splitlines() == [
        "gap: scan/demo: 3 events are no longer held, 1:3-5",
        "missed 3 events in 1 gaps",
    ]


@pytest.mark.parametrize(
    ("status", "error", "code", "told"),
    [
        ("completed", None, 0, ""),
        ("failed", None, 1, "error: scan/demo failed"),
        ("failed", "no\x1b[2J route", 1, "error: scan/demo failed: no\\x1b[2J route"),
    ],
)
def test_until_complete_ends_with_the_scan(
    worker: Worker, tail: Start, status: str, error: str | None, code: int, told: str
) -> None:
    worker.add("a")
    process = tail("--scan", "demo", "--until-complete")
    listening(worker)
    printed_after_it_began(worker, process)
    worker.end(status, error)
    assert ended(process, code) == ["demo 2 b", "demo 3 end"]
    assert process.errors == told


def test_until_complete_waits_for_every_scan_and_for_one_that_comes_later(
    worker: Worker, tail: Start
) -> None:
    worker.add("a", scan="one")
    process = tail("--scan", "one", "--scan", "two", "--until-complete", "--type", "end")
    listening(worker)
    worker.end("failed", scan="one")
    printed(process, 1)
    worker.add("x", scan="two", epoch=2**50)
    worker.end("completed", scan="two", epoch=2**50, lost=True)
    worker.beacon()
    assert ended(process, 1) == ["one 2 end", "two 2 end"]
    assert process.errors.splitlines()[-1] == "error: scan/one failed"


@pytest.mark.parametrize("flags", [[], ["--from-start"], ["--since", "1:1"], ["--since", "1:3"]])
def test_until_complete_of_a_scan_that_is_over_prints_what_was_asked_for_and_ends(
    worker: Worker, tail: Start, flags: list[str]
) -> None:
    worker.add("a", "b")
    worker.end("completed")
    process = tail("--scan", "demo", "--until-complete", *flags)
    listening(worker)
    everything = ["demo 1 a", "demo 2 b", "demo 3 end"]
    first = {"--from-start": 0, "1:1": 1}.get(flags[-1] if flags else "", 3)
    assert ended(process) == everything[first:]
    assert process.errors == ("" if flags else "scan/demo is over already: completed")


def test_what_is_waited_for_is_told(worker: Worker, tail: Start) -> None:
    process = tail("--scan", "never", "--until-complete")
    listening(worker)
    process.wait_for(None, text="waiting: no such scan yet: scan/never")


def test_a_pipeline_that_left_its_sockets_behind_is_told(
    run_dir: Path, publisher: Publisher, tail: Start
) -> None:
    process = tail()
    process.wait_for(None, text=f"waiting: no pipeline answers in {run_dir}")


def test_until_complete_of_a_scan_that_had_failed_is_1(worker: Worker, tail: Start) -> None:
    worker.add("a")
    worker.end("failed", "no route")
    process = tail("--scan", "demo", "--until-complete")
    listening(worker)
    assert ended(process, 1) == []
    assert process.errors.splitlines() == [
        "scan/demo is over already: failed",
        "error: scan/demo failed: no route",
    ]


def test_until_complete_that_does_not_come_in_time(worker: Worker, tail: Start) -> None:
    process = tail("--scan", "demo", "--until-complete", "--timeout", "0.3")
    assert ended(process, 124) == []
    assert process.errors == "error: scan/demo did not end within 0.3 s"


def test_a_severity_leaves_out_what_is_below_it(publisher: Publisher, tail: Start) -> None:
    process = tail("--severity", "high", "-n", "3")
    publisher.joined()
    found = [
        {"type": "vulnerabilityFound", "ip": "a", "severity": severity, "title": "x"}
        for severity in ("Low", "High", "Medium", "Critical")
    ]
    events = tuple(json.dumps(event).encode() for event in [*found, {"type": "other"}])
    publisher.socket.send(encode_frame(Frame(DEMO, 1, 1, 5, events)))
    shown = ["demo 2 vulnerabilityFound a High x", "demo 4 vulnerabilityFound a Critical x", "demo 5 other"]
    assert ended(process) == shown


def test_a_template_and_the_time_between_lines(publisher: Publisher, tail: Start) -> None:
    process = tail("--template", "{ip}:{port} {seq}", "--delta", "-n", "2")
    publisher.joined()
    events = (
        b'{"type":"a","ip":"10.0.0.5","port":443,"ts":100}',
        b'{"type":"a","ip":"x\\u001b[2J\\n","ts":101.5}',
    )
    publisher.socket.send(encode_frame(Frame(DEMO, 1, 1, 2, events)))
    assert process.wait() == 0
    assert process.output.splitlines() == ["+0.000 10.0.0.5:443 1", "+1.500 x\\x1b[2J\\n:- 2"]


def test_figures_are_lines_where_there_is_no_terminal(publisher: Publisher, tail: Start) -> None:
    process = tail("--stats", "-n", "5")
    publisher.joined()
    publisher.publish("a", "b", "a")
    publisher.publish("a", "a", scan="other")
    counted: dict[str, int] = {}
    for line in ended(process):
        scan, kind, _, fresh, per_s = line.split()
        counted[f"{scan} {kind}"] = counted.get(f"{scan} {kind}", 0) + int(fresh.removeprefix("fresh="))
        assert float(per_s.removeprefix("per_s=")) > 0
    assert counted == {"demo a": 2, "demo b": 1, "other a": 2}


def test_figures_are_refreshed_in_place_on_a_terminal(run_dir: Path, publisher: Publisher) -> None:
    main, side = os.openpty()
    command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir), "--stats", "-n", "3"]
    process = subprocess.Popen(command, stdout=side, env={**os.environ, "COLUMNS": "80", "LINES": "24"})
    os.close(side)
    try:
        publisher.joined()
        publisher.publish("a", "b\x1b[2J")
        shown = b""
        while b" a " not in shown:
            shown += os.read(main, 1_000)
        publisher.publish("a", first=3)
        while b"\x1b[?7h" not in shown.partition(b"3 events")[2]:
            shown += os.read(main, 1_000)
        assert process.wait(20 * PATIENCE) == 0
        assert b"\x1b[4F" in shown  # over the four lines of the table before
        assert b"\x1b[2J" not in shown
        assert shown.count(b"\x1b[?7l") == shown.count(b"\x1b[?7h")
    finally:
        process.kill()
        process.wait()
        os.close(main)


def test_after_a_worker_died_every_scan_is_asked_for_at_once(worker: Worker, tail: Start) -> None:
    """What it had committed and not published stands in no beacon for a while."""
    worker.add("a")
    worker.add("x", scan="other")
    process = tail("-n", "2")
    listening(worker)
    printed_after_it_began(worker, process)
    worker.add("y", scan="other", lost=True)
    worker.beacon("another boot", of=())
    assert ended(process) == ["demo 2 b", "other 2 y"]


def test_since_goes_on_after_a_position_and_ends_at_the_head(worker: Worker, tail: Start) -> None:
    worker.add(*"abcdefgh")
    worker.add("x", scan="other")
    process = tail("--scan", "demo", "--since", "1:3")
    listening(worker)
    assert ended(process) == ["demo 4 d", "demo 5 e", "demo 6 f", "demo 7 g", "demo 8 h"]
    assert process.errors == ""
    assert {type(question) for question in worker.asked} == {PageRequest}


def test_since_the_head_has_nothing_to_print(worker: Worker, tail: Start) -> None:
    worker.add(*"abc")
    process = tail("--scan", "demo", "--since", "1:3")
    listening(worker)
    assert ended(process) == []
    assert process.errors == ""


@pytest.mark.parametrize(
    ("since", "printed", "told"),
    [
        ("1:2", ["3 c", "1 new", "2 newer"], "reset: scan/demo: life 1 is over; it goes on with 5:1"),
        ("4:9", ["1 new", "2 newer"], "reset: scan/demo: life 4 is not held; it goes on with 5:1"),
        ("6:1", ["1 new", "2 newer"], "reset: scan/demo: life 6 is not held; it goes on with 5:1"),
        ("5:7", ["1 new", "2 newer"], "reset: scan/demo: life 5 ends at 2; it goes on with 5:1"),
    ],
)
def test_since_a_life_that_is_over_or_gone(
    worker: Worker, tail: Start, since: str, printed: list[str], told: str
) -> None:
    worker.add(*"abc")
    worker.add("new", "newer", epoch=5)
    process = tail("--scan", "demo", "--since", since)
    listening(worker)
    assert ended(process) == [f"demo {line}" for line in printed]
    assert process.errors == told


def test_a_new_life_while_it_follows_is_told_and_no_event_of_either_is_missed(
    worker: Worker, tail: Start
) -> None:
    worker.add("a")
    process = tail("-n", "5")
    listening(worker)
    worker.add("b")
    worker.add("c", lost=True)
    worker.add("d", epoch=5, lost=True)
    worker.add("e", epoch=5)
    worker.add("f", epoch=5)
    assert ended(process) == ["demo 2 b", "demo 3 c", "demo 1 d", "demo 2 e", "demo 3 f"]
    assert process.errors.splitlines() == [
        "reset: scan/demo: life 1 is over; it goes on with 5:1",
        "late: 1 events did not come live and are from history",
    ]


def test_from_start_prints_what_is_held_of_every_scan(worker: Worker, tail: Start) -> None:
    worker.add(*"abcd")
    worker.lives[DEMO][0].held = 3
    worker.add("x", scan="other")
    process = tail("--from-start")
    listening(worker)
    assert sorted(ended(process)) == ["demo 3 c", "demo 4 d", "other 1 x"]
    assert process.errors == ""


def test_from_start_and_then_live(worker: Worker, tail: Start) -> None:
    worker.add(*"abcd")
    process = tail("--from-start", "--follow", "--scan", "demo", "--type", "b", "--type", "e", "-n", "2")
    listening(worker)
    worker.add("e")
    worker.beacon()
    assert ended(process) == ["demo 2 b", "demo 5 e"]


@pytest.mark.parametrize("flags", [["--from-start"], ["--since", "1:1"]])
def test_a_scan_nobody_knows_is_an_error_unless_it_is_waited_for(
    worker: Worker, tail: Start, run_dir: Path, flags: list[str]
) -> None:
    process = tail("--scan", "demo", *flags)
    waits = tail("--scan", "demo", *flags, "--follow", "-n", "1")
    for _ in (process, waits):
        listening(worker)
    worker.beacon()
    assert ended(process, 1) == []
    assert process.errors == f"error: scan/demo: not known to the pipeline in {run_dir}"
    worker.add("a", epoch=3)
    assert ended(waits) == ["demo 1 a"]


def test_a_head_that_is_not_reached_in_time_is_an_error(publisher: Publisher, tail: Start) -> None:
    process = tail("--from-start", "--timeout", "0.3")
    assert ended(process, 124) == []
    assert process.errors == "error: the head was not reached within 0.3 s"


def test_a_shard_that_does_not_answer_is_told(publisher: Publisher, tail: Start) -> None:
    process = tail("--from-start")
    publisher.beacons_are_heard()
    publisher.socket.send(encode_beacon(Beacon(0, 1, HASH_NAME, "boot")))
    process.wait_for(None, text="waiting: shard 0 does not answer")


def test_workers_that_spread_otherwise_are_78(publisher: Publisher, tail: Start) -> None:
    process = tail("--from-start")
    publisher.beacons_are_heard()
    publisher.socket.send(encode_beacon(Beacon(0, 1, "dice", "boot")))
    assert ended(process, 78) == []
    assert "spreads its channels by 'dice'" in process.errors


def test_pages_are_frames_of_history(worker: Worker, tail: Start) -> None:
    worker.add(*"abcd")
    process = tail("--from-start", "--frames", "--scan", "demo")
    listening(worker)
    assert ended(process) == [
        "demo 1:1-3 events=3 merged=0 bytes=43 history",
        "demo 1:4-4 events=1 merged=0 bytes=15 history",
    ]


def test_a_record_holds_what_was_printed_and_goes_on_where_it_ended(
    worker: Worker, tail: Start, tmp_path: Path
) -> None:
    record = tmp_path / "record"
    worker.add(*"abcde")
    process = tail("--from-start", "--scan", "demo", "--not-type", "b", "-n", "3", "--record", str(record))
    listening(worker)
    assert ended(process) == ["demo 1 a", "demo 3 c", "demo 4 d"]
    assert record.stat().st_mode & 0o777 == 0o600
    with record.open("ab") as file:
        file.write(b'{"channel":"scan/demo","epo')  # as a kill leaves it
    last = json.loads(record.read_bytes().splitlines()[-2])
    process = tail("--scan", "demo", "--since", f"{last['epoch']}:{last['seq']}", "--record", str(record))
    listening(worker)
    assert ended(process) == ["demo 5 e"]
    assert process.errors == f"{record}: its last line was not whole and is cut off"
    lines = [json.loads(line) for line in record.read_bytes().splitlines()]
    assert [(line["channel"], line["epoch"], line["seq"], line["event"]["type"]) for line in lines] == [
        (DEMO, 1, seq, name) for seq, name in ((1, "a"), (3, "c"), (4, "d"), (5, "e"))
    ]


def test_a_record_is_written_frame_by_frame(publisher: Publisher, tail: Start, tmp_path: Path) -> None:
    record = tmp_path / "record"
    process = tail("--record", str(record), "--raw")
    publisher.joined()
    for seq in range(1, 4):
        publisher.publish(f"e{seq}", first=seq)
        printed(process, seq)
        assert len(record.read_bytes().splitlines()) == seq


def test_a_record_that_cannot_be_written_is_an_error(worker: Worker, tail: Start) -> None:
    process = tail("--record", "/dev/full")
    listening(worker)
    worker.add("a")
    assert ended(process, 1) == []
    assert process.errors == "error: /dev/full: No space left on device"
    process = tail("--record", "/nowhere/at/all")
    assert ended(process, 1) == []
    assert process.errors == "error: /nowhere/at/all: No such file or directory"


def test_output_that_cannot_be_written_is_an_error(run_dir: Path, publisher: Publisher) -> None:
    command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir)]
    with (
        Path("/dev/full").open("wb") as full,
        subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        try:
            publisher.joined()
            publisher.publish("a")
            _, errors = process.communicate(timeout=20 * PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, errors) == (1, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize("imported", ["click", "pipeline.cli", "pipeline.tail.render"])
def test_ctrl_c_while_it_is_imported(run_dir: Path, imported: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pipeline", "tail", "--run-dir", str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.split("|")[-1].strip().startswith(imported):
                    break
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20 * PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors


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
    assert ended(process, 124) == []
    assert process.errors == "error: 0 of 2 events of type b of scan demo came within 0.3 s"


def test_a_timeout_without_a_count_is_a_good_end(publisher: Publisher, tail: Start) -> None:
    process = tail("--timeout", "0.3")
    assert ended(process) == []
    assert process.errors == ""


def test_a_timeout_without_a_pipeline_says_where_it_looked(run_dir: Path, tail: Start) -> None:
    process = tail("-n", "1", "--timeout", "0.2")
    assert ended(process, 124) == []
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


def test_a_reader_that_stands_still_holds_up_nobody_and_misses_nothing(run_dir: Path, worker: Worker) -> None:
    """The publisher drops for it, as a worker does; when it reads on it fetches what was dropped."""
    read, write = os.pipe()
    worker.add("first")
    command = [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(run_dir), "--json"]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    try:
        os.close(write)
        listening(worker)
        sent = 8_000  # more than all queues on the way hold
        worker.lives[DEMO][0].events += [
            json.dumps({"type": "a", "x": "y" * 4_000}).encode() for _ in range(sent)
        ]
        for seq in range(2, sent + 2):
            event = worker.lives[DEMO][0].events[seq - 1]
            worker.socket.send(encode_frame(Frame(DEMO, 1, seq, seq, (event,))), zmq.NOBLOCK)
        seqs = []
        with os.fdopen(read, "rb") as reader:
            for line in reader:
                seqs.append(json.loads(line)["seq"])
                if seqs[-1] == sent + 1:
                    break
                if len(seqs) % 100 == 0:
                    worker.beacon()  # until there is room for it
            process.send_signal(2)
            assert reader.read() == b""
        _, errors = process.communicate(timeout=20 * PATIENCE)
        assert process.returncode == 130
        told = re.findall(r"late: ([0-9]+) events did not come live and are from history", errors.decode())
        assert 0 < sum(map(int, told)) < sent
        assert seqs == list(range(2, sent + 2))
        assert any(isinstance(question, PageRequest) for question in worker.asked), "nothing was dropped"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "flags",
    [
        ["--scan", "a/b"],
        ["-n", "0"],
        ["--timeout", "0"],
        ["--frames", "--type", "a"],
        ["--frames", "--record", "x"],
        ["--frames", "--severity", "high"],
        ["--frames", "--until-complete", "--scan", "a"],
        ["--severity", "odd"],
        ["--until-complete"],
        ["--template", "{ip.__class__!r}"],
        ["--template", "{ip}", "--json"],
        ["--delta", "--raw"],
        ["--delta", "--stats"],
        ["--since", "1", "--scan", "a"],
        ["--since", "1:2"],
        ["--since", "1:2", "--scan", "a", "--scan", "b"],
        ["--since", "1:2", "--scan", "a", "--from-start"],
    ],
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
