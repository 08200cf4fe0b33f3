"""When whom: a frame to all who are in step, and the others each on its own. Shell.

Always a part at a time, so that the loop is never held up for long. `cohort` knows whose turn it is; what a
reader's socket does not take, and what else is due to it, is the reader's own affair (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pipeline.edge.cohort import Cohort, Round
from pipeline.edge.feed import Feed
from pipeline.edge.pace import PACES, paces_at, tick
from pipeline.edge.session import Session

PART_SEATS = 250
"""Readers served before the loop goes on with other work: about 2 ms, at 7 us a `send`."""

PART_LOOSE = 100
"""The same for those who are not in step, who cost more each."""

Late = Callable[[Session, Round, int], None]
"""Told of a reader that took only so many bytes of a round, none included."""


class FanOut:
    """Args:
    late: takes over who is not in step any more.
    """

    def __init__(self, late: Late) -> None:
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._going: set[Cohort] = set()

    def give(self, feed: Feed) -> None:
        """Give out what is queued: a part now, the rest between other work."""
        for cohort in feed.cohorts():
            if cohort not in self._going:
                self._go(cohort)

    def drive(self, sessions: Sequence[Session], drive: Callable[[Session], None]) -> None:
        """Drive who is not in step: a part now, the rest between other work."""
        for session in sessions[:PART_LOOSE]:
            drive(session)
        if len(sessions) > PART_LOOSE:
            self._loop.call_soon(self.drive, sessions[PART_LOOSE:], drive)

    def _go(self, cohort: Cohort) -> None:
        left = PART_SEATS
        while left > 0:
            given = cohort.give(left)
            if given is None:
                self._going.discard(cohort)
                return
            left -= given.seats
            for session, taken in given.late:
                self._late(session, given.turn, taken)
        self._going.add(cohort)
        self._loop.call_soon(self._go, cohort)


class Ladders:
    """Who is given fewer frames than come, and is driven at the ticks of its pace. Without anybody, no timer.

    Args:
        drive: drives one.
    """

    def __init__(self, drive: Callable[[Session], None]) -> None:
        self._drive = drive
        self._loop = asyncio.get_running_loop()
        self._at: dict[int, dict[Session, None]] = {per_s: {} for per_s in PACES[1:]}
        self._timer: asyncio.TimerHandle | None = None

    def put(self, session: Session, per_s: int) -> None:
        """Put a session on the ladder of its pace, or on none when that is full."""
        self.remove(session)
        if per_s in self._at:
            self._at[per_s][session] = None
            self._wait()

    def remove(self, session: Session) -> None:
        """Take a session off."""
        for ladder in self._at.values():
            ladder.pop(session, None)

    def _wait(self) -> None:
        if self._timer is None and any(self._at.values()):
            number = tick(PACES[0], self._loop.time()) + 1
            self._timer = self._loop.call_at(number / PACES[0], self._tick, number)

    def _tick(self, number: int) -> None:
        self._timer = None
        for per_s in paces_at(number):
            for session in tuple(self._at[per_s]):
                self._drive(session)
        self._wait()
