"""How many events a second come, smoothed. Pure.

Part of a channel's state. An exponential mean over about `SMOOTHED_OVER_S`; what came before a restart is
not in it.
"""

from __future__ import annotations

import math

SMOOTHED_OVER_S = 5.0


class EventRate:
    """Told once a wake-up how many events came; asked when somebody looks."""

    __slots__ = ("_at", "_begun_at", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._at: float | None = None
        self._begun_at = 0.0

    def add(self, count: int, now: float) -> None:
        """Take notice that so many events came.

        Args:
            count: how many.
            now: monotonic seconds.
        """
        if self._at is None:
            self._begun_at = self._at = now
        self._value = self._value * math.exp((self._at - now) / SMOOTHED_OVER_S) + count / SMOOTHED_OVER_S
        self._at = now

    def per_s(self, now: float) -> float:
        """Return events a second as of `now`: falls towards 0 while nothing comes."""
        if self._at is None:
            return 0.0
        value = self._value * math.exp((self._at - now) / SMOOTHED_OVER_S)
        seen_s = max(1.0, now - self._begun_at)  # what came in less than a second is not taken for more
        return value / (1 - math.exp(-seen_s / SMOOTHED_OVER_S))
