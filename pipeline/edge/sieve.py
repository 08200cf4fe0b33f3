"""One reader's filter, and the ledger it keeps: what was left out and is not told yet. Pure.

Between `session`, which decides what is next, and the reader: whole frames and pages go in, what passes comes
out. What comes out is contiguous for the reader, each range with the number of events left out of it.

=========================== =====================================================================
what goes in                comes out
=========================== =====================================================================
something of it passes      that, told of from the first event not told of yet
nothing of it passes        nothing; its range is owed
`settle`, a range is owed   the range, without events
=========================== =====================================================================
"""

from __future__ import annotations

from pipeline.edge.delivery import Delivery
from pipeline.edge.filter import Filter


class Sieve:
    """Args:
    wanted: the filter; None lets everything pass.
    """

    __slots__ = ("_owed", "_owed_merged", "wanted")

    def __init__(self, wanted: Filter | None = None) -> None:
        self.wanted = wanted
        self._owed: tuple[str, int, int, int] | None = None
        self._owed_merged = 0

    @property
    def owes(self) -> bool:
        """Whether a range went in of which the reader was told nothing."""
        return self._owed is not None

    def due(self, following: int) -> int:
        """Return the event that what comes out next begins with, if `following` goes in next."""
        return self._owed[2] if self._owed is not None else following

    def take(self, delivery: Delivery) -> Delivery | None:
        """Return what passes of the events that follow those taken before; None when nothing does."""
        if self.wanted is None:
            return delivery
        owed = self._owed
        assert owed is None or (owed[1], owed[3] + 1) == (delivery.epoch, delivery.first)
        first = owed[2] if owed is not None else delivery.first
        view = delivery.through(self.wanted, first, self._owed_merged)
        if view is None:
            self._owed = (delivery.channel, delivery.epoch, first, delivery.last)
            self._owed_merged += delivery.merged
        else:
            self._owed, self._owed_merged = None, 0
        return view

    def settle(self) -> Delivery | None:
        """Return the range that is owed, if one is; call it before anything but events is told."""
        if self._owed is None:
            return None
        settled = Delivery.of_nothing(*self._owed, self._owed_merged)
        self._owed, self._owed_merged = None, 0
        return settled

    def hand_over(self) -> Sieve:
        """Return another that goes on from here; this one begins anew."""
        other = Sieve(self.wanted)
        other._owed, other._owed_merged = self._owed, self._owed_merged
        self._owed, self._owed_merged = None, 0
        return other

    def change(self, wanted: Filter | None) -> None:
        """Let other events pass from now on; nothing may be owed."""
        assert self._owed is None
        self.wanted = wanted
