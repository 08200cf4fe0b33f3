"""A token bucket: how many frames a channel may send, how many events a producer. Pure.

Holds at most `capacity` tokens and gains `rate` a second (Turner, "New directions in communications",
1986). With capacity 1 two tokens are never closer than 1 / rate seconds, so any half-open second holds
at most `rate` of them.

Kept as the time at which it is full again, not as a count (the "virtual scheduling" form, ITU-T I.371):
`take` compares with the very number that `available_at` names, so that no rounding, however far the clock
has come, can name a time at which there is no token after all.

What costs more than one token is taken whole as soon as there is one, and what is missing is owed: a message
is not taken in parts, and one that is larger than the bucket would wait for ever.
"""

from __future__ import annotations


class TokenBucket:
    """Args:
    rate: tokens a second.
    capacity: the most tokens held, at least 1; also what it starts with.
    """

    __slots__ = ("_burst_s", "_full_at", "_interval_s")

    def __init__(self, rate: float, capacity: float = 1.0) -> None:
        self._full_at = float("-inf")
        self.set(rate, capacity)

    def set(self, rate: float, capacity: float) -> None:
        """Go on at another rate, from when the next token was due anyway."""
        self._interval_s = 1.0 / rate
        # What a sum of intervals is off by must not cost the last token of a burst.
        self._burst_s = (capacity - 1.0) * self._interval_s * (1.0 + 1e-6)

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take `count` tokens, if there is one: those that are missing come before the next are given.

        Args:
            now: monotonic seconds.
        """
        if now < self._full_at - self._burst_s:
            return False
        self._full_at = max(self._full_at, now) + self._interval_s * count
        return True

    def available_at(self, now: float) -> float:
        """Return when `take` will succeed: `now` if it would now."""
        return max(now, self._full_at - self._burst_s)
