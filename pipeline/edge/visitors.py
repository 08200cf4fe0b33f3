"""How many connections an address has, and how fast it may open them. Pure.

Asked before a connection is taken. An address is what `access` says it is: behind a trusted proxy the
browser's, otherwise the peer's. `users` counts by subject with the same parts.

========================================== ===========================================================
an address                                 is
========================================== ===========================================================
asks faster than `per_s`, past `burst`     refused before the upgrade: 429, with when to come back
has `max_per_address` connections          accepted, and closed with 4029
sent nothing for as long as it takes to    forgotten
have its whole burst again
========================================== ===========================================================
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import KeysView

MAX_NAMES = 65_536
"""Addresses, or subjects, remembered for their rate; beyond it the one unheard longest is forgotten."""


class Rate:
    """A token bucket without a state of its own: the state is one number, kept by who asks.

    That number is when the bucket will be full again (ITU-T I.371, "virtual scheduling").

    Args:
        per_s: tokens gained a second.
        burst: the most tokens held.
    """

    __slots__ = ("_burst_s", "_interval_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._interval_s = 1.0 / per_s
        self._burst_s = burst * self._interval_s

    def take(self, full_at: float, now: float, count: int = 1) -> tuple[float, float]:
        """Take `count` tokens, or none if there are not as many.

        Args:
            full_at: what the last call returned; minus infinity before the first.
            now: monotonic seconds.

        Returns:
            (the new number to keep, seconds until there are enough; 0 when they were taken).
        """
        after = max(full_at, now) + count * self._interval_s
        wait_s = after - now - self._burst_s * (1.0 + 1e-9)
        return (after, 0.0) if wait_s <= 0 else (full_at, wait_s)


class Rates:
    """How fast each may do one thing.

    Args:
        rate: how fast.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def follow(self, rate: Rate) -> None:
        """Judge by another rate from now on."""
        self._rate = rate

    def knock(self, name: str, now: float) -> float:
        """Count an attempt.

        Args:
            name: whose it is.
            now: monotonic seconds.

        Returns:
            Seconds after which to come again; 0 when it may be done, and is counted.
        """
        full_at, wait_s = self._rate.take(self._full_at.get(name, float("-inf")), now)
        if not wait_s:
            self._full_at[name] = full_at
            self._full_at.move_to_end(name)
            oldest = next(iter(self._full_at))
            if len(self._full_at) > MAX_NAMES or self._full_at[oldest] <= now:
                del self._full_at[oldest]
        return wait_s

    @property
    def names(self) -> KeysView[str]:
        """Who is remembered."""
        return self._full_at.keys()


class Places:
    """How much each has open of one thing.

    Args:
        most: of each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def follow(self, most: int) -> None:
        """Judge by another bound from now on; who is in stays in."""
        self._most = most

    def enter(self, name: str) -> bool:
        """Count one more; False when that are as many as there may be."""
        if self._taken[name] >= self._most:
            return False
        self._taken[name] += 1
        return True

    def leave(self, name: str) -> None:
        """Take back what `enter` counted."""
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]

    @property
    def names(self) -> KeysView[str]:
        """Who has something open."""
        return self._taken.keys()


class Visitors:
    """Args:
    max_per_address: connections of one address.
    rate: how fast an address may open them.
    """

    def __init__(self, max_per_address: int, rate: Rate) -> None:
        self._places = Places(max_per_address)
        self._rates = Rates(rate)

    def follow(self, max_per_address: int, rate: Rate) -> None:
        """Judge by other limits from now on; who is in stays in."""
        self._places.follow(max_per_address)
        self._rates.follow(rate)

    def knock(self, address: str, now: float) -> float:
        """Count an attempt; return seconds after which to come again, 0 when it may come in."""
        return self._rates.knock(address, now)

    def enter(self, address: str) -> bool:
        """Count an open connection; False when the address has as many as it may."""
        return self._places.enter(address)

    def leave(self, address: str) -> None:
        """Take back what `enter` counted."""
        self._places.leave(address)

    @property
    def addresses(self) -> int:
        """How many addresses are remembered."""
        return len(self._rates.names | self._places.names)
