"""Which events of each channel were missed, judged by the ranges of the frames that came. Pure.

Sits between the subscriber and what it prints. Knows no socket and no event.

==================================== ============================================================
a frame                              what follows
==================================== ============================================================
of a channel not seen before         nothing: what came before it was never promised
that follows the one before          nothing
that begins later                    the numbers between are missed
of another epoch                     whatever it does not begin with is missed
that repeats numbers already seen    they are known: a worker that restarted sends some again
==================================== ============================================================
"""

from __future__ import annotations

from collections import OrderedDict

from pipeline.frame import Position

MAX_CHANNELS = 100_000
"""How many channels are watched; past it the one quiet for longest is forgotten, and begins anew."""


class Continuity:
    """Watches the frames of every channel for gaps.

    Attributes:
        gaps: how many gaps were seen.
        missed: how many events lay in them.
    """

    def __init__(self, max_channels: int = MAX_CHANNELS) -> None:
        self._max_channels = max_channels
        self._seen: OrderedDict[str, Position] = OrderedDict()
        self.gaps = 0
        self.missed = 0

    def take(self, channel: str, epoch: int, first: int, last: int) -> tuple[int, range]:
        """Take notice of a frame.

        Args:
            channel: `kind/id`.
            epoch: the channel's life.
            first: the first number in the frame.
            last: the last one.

        Returns:
            (the first number that was not seen before, the numbers missed before it).
        """
        before = self._seen.pop(channel, None)
        if before is None:
            before = Position(epoch, first - 1)
        seen = before.seq if before.epoch == epoch else 0
        missed = range(seen + 1, first)
        if missed:
            self.gaps += 1
            self.missed += len(missed)
        self._seen[channel] = Position(epoch, max(seen, last))
        if len(self._seen) > self._max_channels:
            self._seen.popitem(last=False)
        return max(first, seen + 1), missed
