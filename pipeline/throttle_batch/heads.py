"""Which channels a beacon names: those that moved lately, and in rotation all others. Pure.

A beacon is small whatever the number of channels, and still tells every reader within `ROTATION_S` how far
each channel is: so a lost last frame or a lost subscription shows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

ROTATION_S = 10.0
"""Every channel is named at least so often."""
REPEATS = 3
"""A channel that moved is named in so many beacons, for a beacon may be lost."""


class HeadRotation:
    """Args:
    interval_s: how often a beacon is sent.
    """

    def __init__(self, interval_s: float) -> None:
        self._beacons_a_round = max(1, math.floor(ROTATION_S / interval_s))
        self._moved: deque[set[str]] = deque([set()], maxlen=REPEATS)
        self._round: list[str] = []
        self._share = 0

    def moved(self, channel: str) -> None:
        """Note that a channel's head changed, or that somebody joined it."""
        self._moved[-1].add(channel)

    def next(self, channels: Iterable[str], count: int) -> list[str]:
        """Return the channels to name in the beacon that is sent now.

        Args:
            channels: the names of all channels of the shard.
            count: how many there are.
        """
        if not self._round:
            self._round = list(channels)
            # Fixed for the round: a share of those who are left would not get through it in time.
            self._share = math.ceil(count / self._beacons_a_round)
        rotated, self._round = self._round[: self._share], self._round[self._share :]
        named = set(rotated).union(*self._moved)
        self._moved.append(set())
        return sorted(named)
