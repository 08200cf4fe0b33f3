"""Processes that send events to a pipeline: each has an `Emitter` and some scans, and begins when told.

Each scan is opened with a `scanStarted` before; so it is there for readers, and opening costs nothing of what
is measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

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


def emit(
    pipe: Pipe,
    run_dir: str,
    scans: Sequence[str],
    active: Sequence[str],
    count: int,
    packed: int,
    per_s: float,
) -> None:
    """Send, and tell the CPU seconds it took; the process's whole life."""
    if packed:
        pipeline.outbox.MAX_PACKED_EVENTS = packed
    with Emitter(run_dir=run_dir) as emitter:
        emitter.wait_ready(WAIT_S)
        for scan_id in scans:
            emitter.emit(STARTED, scan_id=scan_id)
        emitter.flush(WAIT_S)
        pipe.send("open")
        pipe.recv()
        began_s, began = time.process_time(), time.monotonic()
        step = max(1, int(per_s / 200)) if per_s else 0
        for number in range(count):
            if step and number % step == 0:
                ahead_s = began + number / per_s - time.monotonic()
                if ahead_s > 0:
                    pipe.poll(ahead_s)
            emitter.emit(EVENT, scan_id=active[number % len(active)])
        emitter.flush(WAIT_S)
        pipe.send(time.process_time() - began_s)
        with contextlib.suppress(EOFError):  # the end
            pipe.recv()


class Producers:
    """Some processes that send; their scans are open when this returns.

    Args:
        run_dir: the pipeline's.
        scans: ids of all scans that are opened; spread over the processes.
        active: how many of them are sent to, those that stand first.
        events: how many are sent, all together.
        processes: how many there are; no more than active scans.
        packed: the most events in a message; 0: as the Emitter likes.
        per_s: events a second, all together; 0: as fast as it goes.
    """

    def __init__(
        self,
        run_dir: Path,
        scans: Sequence[str],
        active: int,
        events: int,
        processes: int,
        *,
        packed: int = 0,
        per_s: float = 0,
    ) -> None:
        count = min(processes, active)
        self.total = events // count * count
        self._pipes: list[Pipe] = []
        self._processes: list[Any] = []
        for number in range(count):
            own, theirs = CONTEXT.Pipe()
            args = (
                *(theirs, str(run_dir), scans[number::count], scans[:active][number::count]),
                *(events // count, packed, per_s / count),
            )
            process = CONTEXT.Process(target=emit, args=args, daemon=True)
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
