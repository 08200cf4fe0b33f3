"""What is live: every watched channel. Pure.

Filled by `upstream`; the feeds are read by `session` and `fan_out`. It bounds what all rings hold together.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.wire import FrameMessage

if TYPE_CHECKING:
    from pipeline.edge.session import Session


class Hub:
    """Every watched channel.

    Args:
        limits: bounds of the rings.
        max_lag_s: how old the next event due to a browser may become, before it is not given.
    """

    def __init__(self, limits: RingSection, max_lag_s: float) -> None:
        self._limits = limits
        self._max_lag_s = max_lag_s
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._held_at_most = 0

    def join(self, session: Session) -> tuple[Feed, bool]:
        """Add a browser.

        Returns:
            (its channel's feed, whether it is new: the caller then subscribes to the channel).
        """
        feed = self._feeds.get(session.channel)
        fresh = feed is None
        if feed is None:
            feed = self._feeds[session.channel] = Feed(session.channel, self._limits, self._max_lag_s)
        feed.join(session)
        return feed, fresh

    def leave(self, session: Session) -> bool:
        """Remove a browser.

        Returns:
            Whether nobody watches the channel any more: the caller then unsubscribes from it.
        """
        feed = self._feeds.get(session.channel)
        if feed is None:
            return False
        feed.leave(session)
        if feed.sessions:
            return False
        del self._feeds[session.channel]
        return True

    def feed(self, channel: str) -> Feed | None:
        """Return a watched channel."""
        return self._feeds.get(channel)

    def feeds(self) -> list[Feed]:
        """Return all watched channels."""
        return list(self._feeds.values())

    def add(self, frame: FrameMessage, now: float) -> Feed | None:
        """Take in a live frame.

        Returns:
            The feed whose sessions may go on; None when nobody watches or nothing is new.
        """
        feed = self._feeds.get(frame.channel)
        if feed is None or not feed.add(Delivery.of_frame(frame), now):
            return None
        self._feeds.move_to_end(frame.channel)
        # Never less than what is held: rings also shrink by themselves. Counted anew only at the limit, for
        # a sum over ten thousand rings a frame would cost more than the frame.
        self._held_at_most += len(frame.body)
        if self._held_at_most > self._limits.max_total_bytes:
            self._shed()
        return feed

    def _shed(self) -> None:
        """Let go of the rings of the channels quiet for longest, until what is held is within the bound."""
        total = sum(feed.held_bytes for feed in self._feeds.values())
        for quiet in self._feeds.values():
            if total <= self._limits.max_total_bytes:
                break
            total -= quiet.held_bytes
            quiet.clear()
        self._held_at_most = total
