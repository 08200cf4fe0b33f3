"""Gives a frame to all who are in step, a part at a time, so that the loop is never held up for long. Shell.

`cohort` knows whose turn it is; what a reader's socket does not take is the reader's own affair (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline.edge.cohort import Cohort, Round
from pipeline.edge.feed import Feed
from pipeline.edge.session import Session

PART_SEATS = 250
"""Readers served before the loop goes on with other work: about 2 ms, at 7 us a `send`."""

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
