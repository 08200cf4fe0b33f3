"""When each channel is to be looked at next: one time a channel, the earliest that was set. Pure.

Used by `batcher`, so that ten thousand idle channels cost no wake-up and no search.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection

from pipeline.throttle_batch.channel import Channel


class Deadlines:
    """What was replaced or dropped stays in the heap, unheeded, until it comes up or is most of the heap:
    it must not keep the memory of a channel that is gone.
    """

    def __init__(self) -> None:
        self._at: dict[Channel, float] = {}
        self._heap: list[tuple[float, int, Channel]] = []
        self._count = 0

    def set(self, deadline: float, channel: Channel) -> None:
        """Look at a channel at `deadline`, monotonic seconds, unless it is looked at before that anyway."""
        if self._at.get(channel, float("inf")) <= deadline:
            return
        self._at[channel] = deadline
        self._count += 1  # breaks ties, so that channels are never compared
        heapq.heappush(self._heap, (deadline, self._count, channel))
        self._shrink()

    def drop(self, channel: Channel) -> None:
        """Look at a channel no more; nothing happens when it has no deadline."""
        if self._at.pop(channel, None) is not None:
            self._shrink()

    def channels(self) -> Collection[Channel]:
        """Return those that have a deadline."""
        return self._at.keys()

    def first(self) -> float | None:
        """Return the earliest deadline; None when there is none."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> Channel | None:
        """Return the channel whose deadline comes first and is not after `now`, without a deadline now.

        Among equal deadlines the one set first comes first. None when none is due.
        """
        first = self.first()
        if first is None or first > now:
            return None
        channel = heapq.heappop(self._heap)[2]
        del self._at[channel]
        return channel

    def _shrink(self) -> None:
        if len(self._heap) > 2 * len(self._at) + 16:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
