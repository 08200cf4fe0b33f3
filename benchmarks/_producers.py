"""Processes that send events to a pipeline: each has an `Emitter` and some scans, and begins when told.

Each scan is opened with a `scanStarted` before; so it is there for readers, and opening costs nothing of what
is measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Protocol

from _readers import CONTEXT

import pipeline.outbox
from pipeline import Emitter

EVENT = (
    b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open",'
    b'"ts":1763879283.25,"note":"012345678901234567"}'
)
assert len(EVENT) == 126, len(EVENT)
STARTED = b'{"type":"scanStarted"}'
WAIT_S = 120.0


class Way(Protocol):
    """What is sent, and how; `_through.Way` says what each means."""

    @property
    def active(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def processes(self) -> int: ...
    @property
    def emitters(self) -> int: ...
    @property
    def packed(self) -> int: ...
    @property
    def per_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does.

    Attributes:
        scans: ids of the scans it opens.
        active: those it sends to, in turn.
        events: how many it sends.
        emitters: how many it has; each has some of the scans.
        packed: the most events in a message; 0: as the Emitter likes.
        per_s: events a second; 0: as fast as it goes.
    """

    scans: Sequence[str]
    active: Sequence[str]
    events: int
    emitters: int
    packed: int
    per_s: float


def emit(pipe: Pipe, run_dir: str, part: Part) -> None:
    """Send, and tell the CPU seconds it took; the process's whole life."""
    if part.packed:
        pipeline.outbox.MAX_PACKED_EVENTS = part.packed
    emitters = [Emitter(run_dir=run_dir) for _ in range(part.emitters)]
    try:
        owner = {scan_id: emitters[at % len(emitters)] for at, scan_id in enumerate(part.scans)}
        for emitter in emitters:
            emitter.wait_ready(WAIT_S)
        for scan_id, emitter in owner.items():
            emitter.emit(STARTED, scan_id=scan_id)
        for emitter in emitters:
            emitter.flush(WAIT_S)
        pipe.send("open")
        pipe.recv()
        pipe.send(_send(pipe, [(owner[scan_id].emit, scan_id) for scan_id in part.active], part, emitters))
        with contextlib.suppress(EOFError):  # the end
            pipe.recv()
    finally:
        for emitter in emitters:
            emitter.close(WAIT_S)


def _send(pipe: Pipe, ways: Sequence[tuple[Any, str]], part: Part, emitters: Sequence[Emitter]) -> float:
    began_s, began = time.process_time(), time.monotonic()
    step = max(1, int(part.per_s / 200)) if part.per_s else 0
    turns = len(ways)
    for number in range(part.events):
        if step and number % step == 0:
            ahead_s = began + number / part.per_s - time.monotonic()
            if ahead_s > 0:
                pipe.poll(ahead_s)
        send, scan_id = ways[number % turns]
        send(EVENT, scan_id=scan_id)
    for emitter in emitters:
        emitter.flush(WAIT_S)
    return time.process_time() - began_s


class Producers:
    """Some processes that send; their scans are open when this returns.

    Args:
        run_dir: the pipeline's.
        scans: ids of all scans that are opened; spread over the processes.
        way: how many are sent to, those that stand first; how many events, and by whom. There are no more
            processes than active scans.
    """

    def __init__(self, run_dir: Path, scans: Sequence[str], way: Way) -> None:
        count = min(way.processes, way.active)
        self.total = way.events // count * count
        self._pipes: list[Pipe] = []
        self._processes: list[Any] = []
        for number in range(count):
            own, theirs = CONTEXT.Pipe()
            part = Part(
                scans[number::count],
                scans[: way.active][number::count],
                way.events // count,
                max(1, way.emitters // count),
                way.packed,
                way.per_s / count,
            )
            process = CONTEXT.Process(target=emit, args=(theirs, str(run_dir), part), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(own)
            self._processes.append(process)
        self._hear()

    def _hear(self) -> list[Any]:
        try:
            return [pipe.recv() for pipe in self._pipes]
        except EOFError:
            raise SystemExit("a producer ended; what it said stands above") from None

    def begin(self) -> None:
        """Have them send."""
        for pipe in self._pipes:
            pipe.send("go")

    def finish(self) -> float:
        """Wait until everything is acked; return the CPU seconds of all."""
        return float(sum(self._hear()))

    def close(self) -> None:
        """End them for certain."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
