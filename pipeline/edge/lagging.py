"""What a browser that fell too far behind is not given, and what it is owed for that. Pure.

Held by `session`, which has the cursor and the pace, and says when the next event due is too old. A reader of
our wire without a filter is owed the scan's state at the end of what it was not given, so that what it shows
is right again. So that is asked for first, and the lag reaches to it:

============================== =======================================================================
the reader                     what follows
============================== =======================================================================
may be shown a state           the state is asked for. It is of an event m; once everything up to m is
                               published the lag is told up to m, its critical frames come, then the
                               state; the cursor is behind m
may not, or was shown one less the lag is told up to the newest frame, and its critical frames come
than `STATES_APART_S` ago
was owed one in that time      the same as above once the time is over, whether it is behind then or not
begins a new life              it is owed no state: what it shows begins anew
============================== =======================================================================

A state may be large, and a slow reader takes long to read it: without the time between two it could be
behind again because of the state alone, and so for ever. Where the edge does not hold all critical frames up
to m, or one of them goes on past m, or m is not published within `PUBLISHED_WITHIN_S`, the state is let go
of, and that counts as being shown one.

An event is too old only for a browser that has once had everything, and whose pace has fallen: one that is
still reading what was before it came, or for whom history was slow, is given all of it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.wire import Document

STATES_APART_S = 60.0
"""A reader is shown the state after a lag at most this often."""
PUBLISHED_WITHIN_S = 3.0
"""A state may be ahead of the frames by as much as a batch takes; what is not published then may never be."""


class Skipped(NamedTuple):
    """Where the cursor goes, and how many events before it are not given."""

    upto: int
    events: int


class Lagging:
    """The lags of one browser.

    Attributes:
        live: whether it has once had everything.
        count: events it was not given because it was too slow.
        state_owed: whether it was told of a lag, and not shown the state since.
    """

    __slots__ = ("_asked", "_came", "_criticals", "_not_before", "_state", "count", "live", "state_owed")

    def __init__(self) -> None:
        self.live = False
        self.count = 0
        self.state_owed = False
        self._criticals: deque[Delivery] = deque()
        self._state: Document | None = None
        self._asked = False
        self._came: Document | None = None
        self._not_before = float("-inf")

    @property
    def owes(self) -> bool:
        """Whether `next_owed` has something."""
        return bool(self._criticals) or self._state is not None

    @property
    def state_held(self) -> bool:
        """Whether a state that was asked for is here, and not shown yet."""
        return self._came is not None or self._state is not None

    def is_too_old(self, feed: Feed, due: int, now: float, *, full_pace: bool) -> bool:
        """Say whether the next event due may be left out."""
        return self.live and not full_pace and feed.is_too_old(due, now)

    def may_ask(self, now: float) -> bool:
        """Say whether it may be shown a state again."""
        return now >= self._not_before

    def ask(self, now: float) -> None:
        """Take notice that the state is asked for."""
        self._asked = True
        self._not_before = now + STATES_APART_S

    def take(self, document: Document) -> bool:
        """Take in a state.

        Returns:
            Whether it was asked for here; then call `to_state` until it has used it.
        """
        asked, self._asked = self._asked, False
        if asked and document.header.epoch is not None:
            self._came = document
        return asked

    def waits(self, feed: Feed, now: float) -> bool:
        """Say whether there is a state of more than is published: its last frames are yet to come."""
        return (
            self._came is not None
            and feed.head < self._came.header.seq
            and now < self._not_before - STATES_APART_S + PUBLISHED_WITHIN_S
        )

    def to_state(self, feed: Feed, due: int, *, wanted: bool) -> Skipped | None:
        """Leave out what the state that came stands for; critical frames and state are owed then.

        Args:
            feed: the channel's feed.
            due: the next event due.
            wanted: whether the browser may be shown it still.

        Returns:
            None when none came, or it cannot be used.
        """
        document, self._came = self._came, None
        if document is None or not wanted or document.header.epoch != feed.epoch:
            return None
        upto = document.header.seq + 1
        criticals = feed.criticals(due, upto)
        if upto < due or criticals is None:
            return None
        self._state, self.state_owed = document, False
        return self._leave_out(due, upto, criticals)

    def to_newest(self, feed: Feed, due: int, *, state_owed: bool) -> Skipped | None:
        """Leave out everything up to the newest frame; critical frames are owed then.

        Returns:
            None when there is nothing to leave out, or not all critical frames are held.
        """
        skipping = feed.skip(due)
        if skipping is None or not self._count(due, *skipping):
            return None
        self.state_owed = state_owed
        return self._leave_out(due, *skipping)

    def next_owed(self) -> Delivery | Document | None:
        """Return what comes before anything at the cursor: a critical frame, or at last the state."""
        if self._criticals:
            return self._criticals.popleft()
        state, self._state = self._state, None
        return state

    def begin_anew(self) -> None:
        """Take notice that a new life begins."""
        self._came = None
        self.state_owed = False

    def _leave_out(self, due: int, upto: int, criticals: list[Delivery]) -> Skipped:
        count = self._count(due, upto, criticals)
        self._criticals.extend(criticals)
        self.count += count
        return Skipped(upto, count)

    @staticmethod
    def _count(due: int, upto: int, criticals: list[Delivery]) -> int:
        return upto - due - sum(each.last + 1 - each.first for each in criticals)
