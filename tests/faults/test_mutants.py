"""The mutation gate: the rules that the guarantees hang on, each broken once, and each noticed.

A scenario brings about the one situation that a rule is there for, and holds what came out against what went
in. It must pass with the pipeline as it is, and fail with each of its mutants, in the way that is named.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import zmq

from pipeline import Emitter, NotDelivered
from pipeline.sockets import Binder, drain, shard_events
from pipeline.wire import decode_frame, frame_topic
from tests.e2e.watching import Watchers
from tests.faults.broken_stage import PROGRAM
from tests.faults.mutants import MUTANTS
from tests.faults.oracle import check_log, check_native
from tests.faults.readers import StayingNative, StayingRest, wait_end
from tests.faults.stand import Stand
from tests.faults.traffic import END, RawProducer, event, events
from tests.harness import PATIENCE, Process, deadline

SCAN = "office"
WORKER, INGEST = "throttle-batch-0", "ingest-0"
CAUGHT_S = 4.0
"""How long a mutant is given to do what it cannot do; the real thing needs a second, and has a minute."""

PLAYS = 3
"""A mutant whose fault is a race gets away now and then, or shows otherwise; never so often in a row."""


class Rig:
    """A stand without a scene: a scenario says what happens when.

    Args:
        stand: not begun yet.
        mutant: the variant that runs; None for the real thing.
        watchers: the readers' loop.
        shows: how the mutant does.
    """

    def __init__(self, stand: Stand, mutant: str | None, watchers: Watchers, shows: str = "") -> None:
        self.stand = stand
        self.mutant = mutant
        self.patience_s = 60.0 if mutant is None else CAUGHT_S
        if "in vain" in shows or "timed out" in shows:
            self.patience_s /= PATIENCE  # what never comes is not waited for any longer on a slow machine
        self._watchers = watchers

    def begin(self) -> None:
        """Start the pipeline, and two readers; one of them is known to be there."""
        self.stand.begin()
        self.native = self.reader(SCAN)
        self.rest = self._watchers.add(
            StayingRest(self._watchers.loop, f"{self.stand.url}/api/scans/{SCAN}/events")
        )

    def reader(self, scan_id: str) -> StayingNative:
        """Return a reader that has been greeted."""
        reader = self._watchers.add(StayingNative(self._watchers.loop, self.stand.ws(f"/ws/scans/{scan_id}")))
        reader.wait_for(lambda reader: reader.hellos)
        return reader

    def emitter(self, sent: list[bytes]) -> Emitter:
        """Return a producer that has these to send."""
        emitter = Emitter(SCAN, run_dir=str(self.stand.run_dir))
        for raw in sent:
            emitter.emit(raw)
        return emitter

    def close(self, emitter: Emitter) -> None:
        """Wait until everything of a producer is acked."""
        emitter.close(self.patience_s * PATIENCE)

    def producer(self, name: str) -> RawProducer:
        """Return a producer that does only what it is told."""
        return RawProducer(SCAN, name, self.stand.run_dir)

    def check(self, **sent: list[bytes]) -> None:
        """End the scan, and hold what its readers got against what was sent."""
        self.close(self.emitter([END]))
        for reader in (self.native, self.rest):
            wait_end(reader, self.patience_s)
        log = self.rest.log()
        check_log(log, sent)
        check_native(self.native, log)

    def wait_until(self, fact: Callable[[], object]) -> None:
        """Wait until something is true.

        Raises:
            AssertionError: it never is.
        """
        end = deadline(self.patience_s)
        pause = threading.Event()
        while not fact():
            assert deadline(0) < end, "waited in vain"
            pause.wait(0.01)

    def wait_held(self) -> None:
        """Wait until the worker stands still."""
        self.stand.processes[WORKER].wait_for("held")


Scenario = Callable[[Rig], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, and what it is for.

    Attributes:
        scenario: what is done.
        mutants: mutant -> how it shows: a regular expression.
        config: stage -> TOML text of its config file.
    """

    scenario: Scenario
    mutants: dict[str, str]
    config: dict[str, str] = field(default_factory=dict)


CASES: dict[str, Case] = {}


def catches(mutants: dict[str, str], config: dict[str, str] | None = None) -> Callable[[Scenario], Scenario]:
    """Enter a scenario into the gate."""

    def enter(scenario: Scenario) -> Scenario:
        CASES[scenario.__name__] = Case(scenario, mutants, config or {})
        return scenario

    return enter


@catches({"worker does not look for gaps": "; lost .b'"})
def an_envelope_is_lost(rig: Rig) -> None:
    """The third message from ingest to the worker goes nowhere."""
    rig.stand.once[INGEST].append(("--lose", "forward:3"))
    rig.begin()
    sent = events("a", 3_000)
    rig.close(rig.emitter(sent))
    rig.check(a=sent)


@catches({"producer does not send again": "timed out"})
def everything_is_lost_for_a_while(rig: Rig) -> None:
    """No message reaches the worker until the producer sends it again."""
    rig.stand.once[INGEST].append(("--lose", "forward:1:2"))
    rig.begin()
    sent = events("a", 300)
    where = ("--scan", SCAN, "--run-dir", str(rig.stand.run_dir))
    mutant = ("--mutant", rig.mutant) if rig.mutant else ()
    process = Process("emit", *where, program=(PROGRAM, *mutant, "--"), stdin=subprocess.PIPE)
    try:
        assert process.popen.stdin is not None
        with process.popen.stdin as pipe:
            pipe.write(b"\n".join(sent) + b"\n")
        assert process.popen.wait(rig.patience_s * PATIENCE) == 0
    finally:
        process.close()
    rig.check(a=sent)


@catches({"ack before the journal": "; lost .b'|waited in vain"})
def killed_before_the_commit(rig: Rig) -> None:
    """The worker dies with events taken and not written; whatever it said before has arrived."""
    rig.stand.once[WORKER].append(("--hold", "before_commit", "--when", '"n":20'))
    rig.begin()
    sent = events("a", 20)
    emitter = rig.emitter(sent[:1])
    emitter.flush(rig.patience_s * PATIENCE)  # the ingest hears the worker: what that says last arrives
    for raw in sent[1:]:
        emitter.emit(raw)
    rig.wait_held()
    rig.wait_until(emitter.rejected)
    rig.stand.kill(WORKER)
    rig.close(emitter)
    rig.check(a=sent)


@catches({"what is taken and not committed is acked again": "; lost .b'"})
def killed_before_the_commit_of_a_duplicate(rig: Rig) -> None:
    """The same, when a message has come more than once."""
    rig.stand.once[WORKER].append(("--hold", "before_commit_of_a_duplicate"))
    rig.begin()
    sent: list[bytes] = []
    producer = rig.producer("a")
    held = threading.Event()
    waiting = threading.Thread(target=lambda: (rig.wait_held(), held.set()), daemon=True)
    waiting.start()
    try:
        while not held.wait(0.02):
            assert len(sent) < 500, "no duplicate was taken in one wake-up with its original"
            sent.append(event("a", len(sent) + 1))
            with rig.stand.stopped(WORKER):
                for _ in range(3):
                    producer.send(len(sent), sent[-1:])
        acked = producer.wait_nack("held")
        rig.stand.kill(WORKER)
        if acked < len(sent):  # what is acked, it does not hold any more
            producer.deliver(acked + 1, sent[acked:], una=acked + 1)
    finally:
        producer.close()
    rig.check(a=sent)


@catches({"publish before the journal": "not what the log holds"})
def killed_before_the_commit_and_another_comes_first(rig: Rig) -> None:
    """The worker dies before it has written an event, and then is given one of another producer."""
    rig.stand.once[WORKER].append(("--hold", "before_commit", "--when", '"producer":"a"'))
    rig.begin()
    marker = rig.reader("marker")
    one, other = (rig.producer(name) for name in "ab")
    try:
        a, b = [event("a", 1, "phaseStarted")], [event("b", number, "phaseStarted") for number in (1, 2)]
        other.deliver(1, b[:1])
        one.send(1, a)
        rig.wait_held()
        marker.wait_for(lambda reader: reader.seq == 1)
        rig.stand.kill(WORKER)
        other.deliver(2, b[1:])
        one.deliver(1, a)
    finally:
        one.close()
        other.close()
    rig.check(a=a, b=b)


@catches({"dedup outside the transaction": "twice .b'"})
def killed_in_the_commit(rig: Rig) -> None:
    """The worker dies with the events written and the ack rows not, in one transaction."""
    rig.stand.once[WORKER].append(("--crash", "in_commit:2"))
    rig.begin()
    sent = events("a", 600)
    rig.close(rig.emitter(sent))
    assert rig.stand.died(WORKER) == 1
    rig.check(a=sent)


@catches(
    {"edge does not look for gaps": "first 3 after 1"},
    {"throttle-batch": "[publish]\nbeacon_interval_s = 10\n"},
)
def a_frame_is_lost(rig: Rig) -> None:
    """The second of three frames goes nowhere; no beacon tells of it before the third comes."""
    rig.stand.once[WORKER].append(("--lose", "publish:2"))
    rig.begin()
    sent = [event("a", number, "phaseStarted") for number in (1, 2, 3)]
    producer = rig.producer("a")
    try:
        for number in (1, 2, 3):
            producer.deliver(number, sent[number - 1 : number])
    finally:
        producer.close()
    rig.check(a=sent)


@catches({"no beacon": ":20, .* in vain"})
def killed_after_the_last_commit(rig: Rig) -> None:
    """The worker dies with the last events written and not published; nothing comes after them."""
    rig.stand.once[WORKER].append(("--crash", "after_commit", "--when", '"n":40'))
    rig.begin()
    sent = events("a", 40)
    emitter = rig.emitter(sent[:20])
    rig.native.wait_for(lambda reader: reader.seq == 20)
    for raw in sent[20:]:
        emitter.emit(raw)
    rig.close(emitter)
    rig.native.wait_for(lambda reader: reader.seq == 40, rig.patience_s)
    assert rig.stand.died(WORKER) == 1
    rig.check(a=sent)


@catches({"edge asks only once": "in vain"})
def killed_with_a_question(rig: Rig) -> None:
    """The worker dies with a page asked for, and not given."""
    rig.stand.once[WORKER].append(("--crash", "before_answer:3"))
    rig.begin()
    sent = events("a", 40)
    emitter = rig.emitter(sent[:20])
    rig.native.wait_for(lambda reader: reader.seq == 20, rig.patience_s)
    rig.wait_until(lambda: rig.stand.died(WORKER))
    for raw in sent[20:]:
        emitter.emit(raw)
    rig.close(emitter)
    rig.check(a=sent)


@catches({"no tombstone": "twice .b'|in vain"})
def a_bad_event(rig: Rig) -> None:
    """One event among good ones is refused."""
    rig.begin()
    sent = events("a", 100)
    bad = b'{"type":"portFound","ip":"10.0.0.5","port":"many","protocol":"TCP","state":"Open"}'
    emitter = rig.emitter([*sent[:50], bad, *sent[50:]])
    rig.close(emitter)
    assert [rejected.pseq for rejected in emitter.rejected()] == [51]
    rig.check(a=sent)


@catches({"critical events are numbered first": "out of order", "critical frames overtake": "out of order"})
def critical_events_among_facts(rig: Rig) -> None:
    """Facts and critical events in one message; a plain subscriber looks at the frames."""
    rig.begin()
    sent = [event("a", number, "note" if number % 10 else "phaseStarted") for number in range(1, 301)]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, rig.stand.run_dir)
    producer = rig.producer("a")
    try:
        frames = binder.connect(zmq.SUB, [shard_events(0)], high_water_mark=100_000)
        frames.setsockopt(zmq.SUBSCRIBE, frame_topic(f"scan/{SCAN}"))
        frames.setsockopt(zmq.SUBSCRIBE, b"H|")
        frames.recv()  # a beacon: it has joined
        producer.deliver(1, sent)
        rig.check(a=sent)
        headers = [decode_frame(raw).header for raw in drain(frames, 10_000) if raw.startswith(b"F|")]
    finally:
        producer.close()
        binder.close()
        context.term()
    ranges = [(header.first, header.last) for header in headers]
    assert ranges
    assert ranges == sorted(ranges), f"frames are out of order: {ranges}"


@pytest.mark.parametrize("name", CASES)
def test_the_pipeline_as_it_is(stands: Callable[..., Stand], name: str) -> None:
    stand = stands(config=CASES[name].config)
    with Watchers() as watchers:
        CASES[name].scenario(Rig(stand, None, watchers))
    assert stand.last_words == []


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, case in CASES.items() for mutant in case.mutants]
)
def test_a_mutant_is_caught(stands: Callable[..., Stand], name: str, mutant: str) -> None:
    case = CASES[name]
    always: dict[str, Any] = {MUTANTS[mutant].stage: ("--mutant", mutant)}
    caught = (AssertionError, NotDelivered, zmq.Again, subprocess.TimeoutExpired)
    shown = []
    for _ in range(PLAYS):
        stand = stands(config=case.config, always=always)
        try:
            with Watchers() as watchers:
                case.scenario(Rig(stand, mutant, watchers, case.mutants[mutant]))
        except caught as error:
            shown.append(f"{error}")
        else:
            shown.append("nothing")
        assert stand.last_words == []
        if re.search(case.mutants[mutant], shown[-1]):
            return
        stand.close()
    pytest.fail(f"{mutant!r} got away, showing {shown}")
