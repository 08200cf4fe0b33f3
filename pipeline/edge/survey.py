"""All connections of an edge, added up a part at a time, so that ten thousand never hold up the loop. Shell.

Asked by `service` when somebody asks the edge for its connections; while nobody does, it costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.edge.told import Figures, Sums
from pipeline.wire import ReadersSummary

PART = 250
"""Connections added up before the loop goes on with other work: about 1 ms."""
AGE_S = 0.5
"""Of many connections, sums that are not older are told again."""


class Surveyed(Protocol):
    """A connection, as far as it is added up."""

    def told(self, now: float) -> Sequence[Figures]:
        """Return what it has cost and been given."""


class Survey:
    """Args:
    members: returns the connections there are.
    """

    def __init__(self, members: Callable[[], Sequence[Surveyed]]) -> None:
        self._members = members
        self._known = ReadersSummary()
        self._begun_at = float("-inf")
        self._under_way = False

    def look(self, now: float) -> ReadersSummary:
        """Return sums: up to `PART` connections those of now, else the last ones, and newer ones are begun.

        Args:
            now: monotonic seconds.
        """
        members = self._members()
        if not self._under_way and (len(members) <= PART or now - self._begun_at >= AGE_S):
            self._begun_at = now
            self._under_way = True
            self._go(members, 0, Sums())
        return self._known

    def _go(self, members: Sequence[Surveyed], first: int, sums: Sums) -> None:
        now = time.monotonic()
        for member in members[first : first + PART]:
            sums.add(member.told(now))
        if first + PART < len(members):
            asyncio.get_running_loop().call_soon(self._go, members, first + PART, sums)
        else:
            self._known = sums.told()
            self._under_way = False
