"""How many frames a second one browser is given: 10, and fewer while it does not take so many. Pure.

A lower pace is a ladder all its readers stand on: they take what has come only at its ticks, which are the
same for all, so that `Feed.joined` composes one delivery for them. Nothing is lost by a lower pace: a reader
gets fewer, larger messages, and of state events only the latest of each.

=========================================================== ==========================================
what                                                        pace
=========================================================== ==========================================
something is due, and what was written before has waited    one step down
for half the time between two frames of the pace, or what
the browser has acked is `ACK_BEHIND_S` old
neither for `RISE_AFTER_S`                                  one step up; the next one as much later
=========================================================== ==========================================
"""

from __future__ import annotations

import math

PACES = (10, 5, 2, 1)
"""Frames a second. The first is not counted out: its readers get each frame when it comes."""

RISE_AFTER_S = 3.0
ACK_BEHIND_S = 2.0


class Pace:
    """The pace of one browser."""

    __slots__ = ("_behind_since", "_calm_since", "_step")

    def __init__(self) -> None:
        self._step = 0
        self._behind_since: float | None = None
        self._calm_since = 0.0

    @property
    def per_s(self) -> int:
        """Frames a second."""
        return PACES[self._step]

    @property
    def full(self) -> bool:
        """Whether each frame is given when it comes."""
        return self._step == 0

    def behind(self, now: float) -> None:
        """Take notice that the browser does not keep up; call it when something is due to it."""
        self._calm_since = now
        if self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since >= 0.5 / self.per_s and self._step < len(PACES) - 1:
            self._step += 1
            self._behind_since = now

    def keeps_up(self, now: float) -> None:
        """Take notice that nothing waits for the browser; call it at least at each tick."""
        self._behind_since = None
        if self._step and now - self._calm_since >= RISE_AFTER_S:
            self._step -= 1
            self._calm_since = now


def tick(per_s: int, now: float) -> int:
    """Return the number of the last tick of a pace; a tick is the same for all its readers."""
    return math.floor(now * per_s + 1e-6)  # a timer for a tick may come a little early


def paces_at(number: int) -> tuple[int, ...]:
    """Return the lower paces that have a tick at this tick of the full one."""
    return tuple(per_s for per_s in PACES[1:] if number * per_s % PACES[0] == 0)
