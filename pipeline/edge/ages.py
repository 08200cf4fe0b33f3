"""When the recent events of a channel came to the edge: how far behind a browser is, in seconds. Pure.

Bounded: about `_STEPS` entries, whatever comes. An event's age is told up to a step too great.
"""

from __future__ import annotations

from collections import deque

_STEPS = 40


class Ages:
    """Args:
    max_age_s: past it an event is too old; nothing more is known of it.
    """

    __slots__ = ("_came", "_max_age_s", "_too_old_upto")

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._came: deque[tuple[float, int]] = deque()
        self._too_old_upto = 0

    def clear(self) -> None:
        """Begin anew: the channel does."""
        self._came.clear()
        self._too_old_upto = 0

    def came(self, upto: int, now: float) -> None:
        """Take notice that the events up to this one have come."""
        if self._came and now - self._came[-1][0] < self._max_age_s / _STEPS:
            self._came[-1] = self._came[-1][0], upto
        else:
            self._came.append((now, upto))
            self._let_go(now)

    def is_too_old(self, seq: int, now: float) -> bool:
        """Say whether an event is older than `max_age_s`."""
        self._let_go(now)
        return seq <= self._too_old_upto

    def age_s(self, seq: int, now: float) -> float:
        """Return an event's age; `max_age_s` for one that is too old, 0 for one that has not come."""
        if self.is_too_old(seq, now):
            return self._max_age_s
        return next((now - at for at, upto in self._came if seq <= upto), 0.0)

    def _let_go(self, now: float) -> None:
        while self._came and now - self._came[0][0] > self._max_age_s:
            self._too_old_upto = self._came.popleft()[1]
