"""A restart of everything, one process at a time, so that nobody who reads or sends misses anything. Pure.

Sits between the operator's wish and the supervisor, which owns the processes. A worker or an ingest has names
that only one process can hold: it ends, then it is started again, and who waits for it waits. An edge is
followed by another that runs beside it, takes over the socket it listens on, and is ready before the old one
drains.

================================= =====================================================================
a step                            goes on when
================================= =====================================================================
in place: stop, start             it has ended; then it has said twice that it can be used
beside: start the new one, stop   the new one has said twice that it can be used; then the old one ended
either, and it does not end       after `stop_s` it is killed
either, and it is not ready       after `start_s` all is given up; a new one beside the old is killed
================================= =====================================================================

Twice, because an answer of the process before may still be on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

READY_ANSWERS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One process to be replaced: `new` is its own name again, or that of the one beside it."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Act:
    """What the supervisor is to do with the process of a name."""

    what: Literal["start", "stop", "kill", "given up", "done"]
    name: str


class Rolling:
    """Args:
    steps: what is replaced, in order.
    start_s: how long a process may take until it can be used.
    stop_s: how long one may take to end.
    """

    def __init__(self, steps: Iterable[Step], *, start_s: float, stop_s: float) -> None:
        self._left = deque(steps)
        self._start_s = start_s
        self._stop_s = stop_s
        self._step: Step | None = None
        self._stopping = False
        self._answers = 0
        self._deadline: float | None = None

    def begin(self, now: float) -> list[Act]:
        """Return what is to be done first.

        Args:
            now: monotonic seconds.
        """
        return self._go_on(now)

    def next_deadline(self) -> float | None:
        """Return when to call `handle_timeout`, monotonic seconds; None when it is over."""
        return self._deadline

    def awaits_end_of(self, name: str) -> bool:
        """Say whether the end of a process is what is waited for, and so nothing to be mended."""
        return self._stopping and self._step is not None and self._step.old == name

    def ended(self, name: str, now: float) -> list[Act]:
        """Take notice that a process has ended."""
        if not self.awaits_end_of(name):
            return []
        assert self._step is not None
        return self._go_on(now) if self._step.old != self._step.new else self._start(now)

    def heard(self, ready: Collection[str], now: float) -> list[Act]:
        """Take in who says that it can be used."""
        step = self._step
        if step is None or self._stopping or step.new not in ready:
            return []
        self._answers += 1
        if self._answers < READY_ANSWERS:
            return []
        return self._go_on(now) if step.old == step.new else self._stop(now)

    def handle_timeout(self, now: float) -> list[Act]:
        """Return what is to be done because something took too long; nothing when it is early."""
        if self._deadline is None or now < self._deadline or self._step is None:
            return []
        step = self._step
        if self._stopping:
            self._deadline = now + self._stop_s
            return [Act("kill", step.old)]
        self._left.clear()
        self._step = self._deadline = None
        beside = [Act("kill", step.new)] if step.old != step.new else []
        return [*beside, Act("given up", step.new)]

    def _go_on(self, now: float) -> list[Act]:
        before, self._step = self._step, self._left.popleft() if self._left else None
        if self._step is None:
            self._deadline = None
            return [Act("done", before.new if before is not None else "")]
        return self._stop(now) if self._step.old == self._step.new else self._start(now)

    def _start(self, now: float) -> list[Act]:
        assert self._step is not None
        self._stopping, self._answers, self._deadline = False, 0, now + self._start_s
        return [Act("start", self._step.new)]

    def _stop(self, now: float) -> list[Act]:
        assert self._step is not None
        self._stopping, self._deadline = True, now + self._stop_s
        return [Act("stop", self._step.old)]
