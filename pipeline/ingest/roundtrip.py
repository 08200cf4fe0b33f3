"""How long it takes from handing an event on until its ack comes back: one event at a time a shard. Pure.

Ingest sees both ends on one clock, so nothing has to travel with the event. Following one at a time costs
next to nothing, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.wire import Ack

GIVEN_UP_S = 60.0
"""An ack that has not come for so long is waited for no more."""

Last = tuple[str, int, str, int]
"""(pid, incarnation, channel, number) of the last event of an envelope."""


class RoundTrips:
    """Of all shards of an ingest."""

    def __init__(self) -> None:
        self._followed: dict[int, tuple[Last, float]] = {}

    def sent(self, shard: int, last: Last, now: float) -> None:
        """Take notice that an envelope was handed to a shard; it is followed if none is.

        Args:
            now: monotonic seconds.
        """
        followed = self._followed.get(shard)
        if followed is None or now - followed[1] > GIVEN_UP_S:
            self._followed[shard] = last, now

    def acked(self, acks: Iterable[Ack], now: float) -> list[float]:
        """Return the seconds it took for those followed that these acks are of."""
        if not self._followed:
            return []
        known = {(ack.pid, ack.inc, ack.channel): ack.committed for ack in acks}
        took = []
        for shard, (last, at) in list(self._followed.items()):
            if known.get(last[:3], -1) >= last[3]:
                took.append(now - at)
                del self._followed[shard]
        return took
