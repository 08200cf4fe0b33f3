"""When each browser is pinged, and when it counts as gone: a timer wheel. Pure.

One wake-up serves a slot of connections, so that ten thousand of them neither need a timer each nor are
pinged all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

SLOTS = 20


class Wheel(Generic[T]):
    """Args:
    interval_s: how often each member comes up.
    """

    def __init__(self, interval_s: float) -> None:
        self.tick_s = interval_s / SLOTS
        self._slots: list[set[T]] = [set() for _ in range(SLOTS)]
        self._turn = 0
        self._added = 0

    def add(self, member: T) -> int:
        """Add a member; it first comes up within the interval.

        Returns:
            Its slot, which `remove` wants.
        """
        slot = self._added % SLOTS  # in turn, so that the slots stay even
        self._added += 1
        self._slots[slot].add(member)
        return slot

    def remove(self, member: T, slot: int) -> None:
        """Remove a member."""
        self._slots[slot].discard(member)

    def turn(self) -> Iterable[T]:
        """Return the members of the next slot; call it every `tick_s` seconds."""
        members = list(self._slots[self._turn])
        self._turn = (self._turn + 1) % SLOTS
        return members
