"""The watchdogs of all channels of a shard: whose turn it is, and since when anything could be heard. Pure.

Used by `batcher`, which passes on what is heard and takes what is said as it takes any event.
"""

from __future__ import annotations

from pipeline.event import Event
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.deadlines import Deadlines


class Watch:
    """Args:
    now: monotonic seconds; what was before it, nobody can know.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._deadlines = Deadlines()

    def deaf(self, now: float) -> None:
        """Take notice that until now nothing could be heard: no silence before it is a scan's fault."""
        self._since = now

    def see_to(self, channel: Channel) -> None:
        """Look at a channel when it is due; call it whenever something came for it."""
        dog = channel.watchdog
        if dog is None or channel.terminal_accepted or channel.cut:
            self.drop(channel)
            return
        deadline = dog.next_deadline(self._since)
        if deadline is not None:
            self._deadlines.set(deadline, channel)

    def drop(self, channel: Channel) -> None:
        """Look at a channel no more."""
        self._deadlines.drop(channel)

    def first(self) -> float | None:
        """Return when to call `next_said`; None for never."""
        return self._deadlines.first()

    def next_said(self, now: float) -> tuple[Channel, Event] | None:
        """Return a channel and what is to be said of it; None when there is nothing more at `now`.

        The caller adds the event to the channel's log, then asks again.
        """
        while (channel := self._deadlines.pop_due(now)) is not None:
            dog = channel.watchdog
            if dog is None or channel.terminal_accepted or channel.cut:
                continue
            event = dog.handle_timeout(now, self._since)
            self.see_to(channel)
            if event is not None:
                return channel, event
        return None
