"""What a producer has sent and nobody has acked: go-back-N for one channel. Pure.

Sits inside the emitter, which owns the sockets and the thread. Numbers events 1, 2, 3 …; keeps each until
it is acked; sends again from the oldest un-acked one when told to, or when nothing moves.

=============================== ======================================================================
when                            what happens
=============================== ======================================================================
an event is added               it is sent as soon as the window has room
an ack comes                    what it covers is forgotten; the window grows by as much, to its maximum
a nack comes                    its number is noted, so that it is told once
a retry comes                   the window is halved, and grows slower from now on; sending goes back to the
                                oldest un-acked event
a retry for want of room comes  the same, after `FULL_PAUSE_S`, or the pause that it asks for; that one an ack
                                does not end
no ack for the timeout          sending goes back; the timeout doubles, to 3 s at most
=============================== ======================================================================

The timeout is twice the time that acks have taken of late, at least 0.3 s: under load they take longer, and
what is sent again for nothing makes the load heavier. It is measured on one event at a time, and only if that
was sent once: of one that was sent twice nobody knows which is acked (Karn and Partridge, 1987).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import accumulate, islice

from pipeline.event import ends_channel
from pipeline.wire import EnvelopeHeader

MIN_WINDOW_EVENTS = 256
MAX_WINDOW_EVENTS = 4_096
MAX_WINDOW_BYTES = 524_288
"""A sixth of what a worker holds of a channel by default: more in flight would only be sent in vain."""
MAX_PACKED_EVENTS = 512
MAX_PACKED_BYTES = 131_072
TIMEOUT_S = 0.3
MAX_TIMEOUT_S = 3.0
FULL_PAUSE_S = 0.05
MAX_PAUSE_S = 5.0
"""However long a pause is asked for: another ingest, or the same one begun anew, may let more come."""
SLOW_GROWTH = 0.125
"""How much the window grows with an acked event, once it has met a bound; before that, by one."""


class Outbox:
    """Args:
    channel: `kind/id`.
    pid: the producer's id.
    inc: its incarnation.
    una: the number of the first event added.
    own: whether the channel is claimed for this producer alone.

    Attributes:
        last: the last number given.
        size_bytes: of all that is not acked.
        resent: how many events were sent again.
        held_up: why the worker takes nothing more, as its last retry said; empty since the last ack.
    """

    def __init__(self, channel: str, pid: str, inc: int, una: int = 1, *, own: bool = False) -> None:
        self.channel = channel
        self._pid = pid
        self._inc = inc
        self._inflight: deque[bytes] = deque()
        self._queued: deque[bytes] = deque()
        self._una = una
        self._own = own
        self.last = una - 1
        self._inflight_bytes = 0
        self._window = MIN_WINDOW_EVENTS
        self._growth = 1.0
        self._timeout_s = TIMEOUT_S
        self._usual_s = 0.0
        self._timed: tuple[int, float] | None = None
        self._sent_once = 0
        self._progress_at = 0.0
        self._paused_until = 0.0
        self._paused_for_quota = False
        self._refused: set[int] = set()
        self.size_bytes = 0
        self._ended_at = -1
        self._left_at = -1
        self.resent = 0
        self.held_up = ""

    def __len__(self) -> int:
        """Return how many events are not acked."""
        return self.last - self._una + 1

    @property
    def una(self) -> int:
        """The number of the oldest event that is not acked; the next one to be given while all are."""
        return self._una

    def unacked(self) -> Iterator[bytes]:
        """Yield the events that are not acked, from number `una` on."""
        yield from self._inflight
        yield from self._queued

    def add(self, raw: bytes) -> int:
        """Number an event and keep it until it is acked.

        Returns:
            Its number, from 1.
        """
        self._queued.append(raw)
        self.size_bytes += len(raw)
        self.last += 1
        return self.last

    @property
    def has_room(self) -> bool:
        """Whether the window has room for a further event."""
        return len(self._inflight) < self._window and self._inflight_bytes < MAX_WINDOW_BYTES

    @property
    def ended(self) -> bool:
        """Whether the last event ended the channel, and is acked."""
        return self._ended_at == self.last

    @property
    def left(self) -> bool:
        """Whether `leave` was called, and nothing was added since."""
        return self._left_at == self.last

    def leave(self) -> None:
        """Take notice that the worker is told that nothing more is to come here."""
        self._left_at = self.last

    def next_message(self, now: float) -> tuple[EnvelopeHeader, list[bytes]] | None:
        """Return the next message to send, or None while there is nothing, or no room in the window.

        Call `sent` once it is on its way; without it the same message comes again.
        """
        room = self._window - len(self._inflight)
        if not self._queued or not self.has_room or now < self._paused_until:
            return None
        events = list(islice(self._queued, min(room, MAX_PACKED_EVENTS)))
        if sum(map(len, events)) > MAX_PACKED_BYTES:
            fitting = sum(size <= MAX_PACKED_BYTES for size in accumulate(map(len, events)))
            del events[max(1, fitting) :]
        pseq = self._una + len(self._inflight)
        return EnvelopeHeader(self.channel, self._pid, self._inc, pseq, self._una, (), self._own), events

    def sent(self, events: list[bytes], now: float) -> None:
        """Take notice that the events of `next_message` are on their way."""
        if not self._inflight:
            self._progress_at = now  # nothing was in flight: the timeout runs from here
        for _ in events:
            self._queued.popleft()
        self._inflight_bytes += sum(map(len, events))
        self._inflight.extend(events)
        last = self._una + len(self._inflight) - 1
        if last > self._sent_once:
            self._sent_once = last
            self._timed = self._timed or (last, now)

    def acked(self, committed: int, now: float) -> int:
        """Take notice that everything up to number `committed` is durable.

        Returns:
            How many events that frees.
        """
        count = min(committed - self._una + 1, len(self))
        if count <= 0:
            return 0
        freed = [self._inflight.popleft() for _ in range(min(count, len(self._inflight)))]
        self._inflight_bytes -= sum(map(len, freed))
        # The others are acked although we were about to send them again.
        freed += [self._queued.popleft() for _ in range(count - len(freed))]
        self.size_bytes -= sum(map(len, freed))
        self._una += count
        if self._una > self.last and self.last not in self._refused and ends_channel(freed[-1]):
            self._ended_at = self.last
        if self._refused:
            self._refused = {pseq for pseq in self._refused if pseq >= self._una}
        self._window = min(MAX_WINDOW_EVENTS, self._window + math.ceil(count * self._growth))
        if self._timed is not None and committed >= self._timed[0]:
            self._usual_s = max(now - self._timed[1], 0.9 * self._usual_s)
            self._timeout_s = min(MAX_TIMEOUT_S, max(TIMEOUT_S, 2 * self._usual_s))
            self._timed = None
        self._progress_at = now
        if not self._paused_for_quota or now >= self._paused_until:
            self.held_up = ""
            self._paused_until = 0.0
        return count

    def refused(self, pseq: int) -> bool:
        """Take notice that a number is not taken, for good; it is acked like the others.

        Returns:
            Whether that is news: what is sent again is refused again.
        """
        if not self._una <= pseq < self._una + len(self) or pseq in self._refused:
            return False
        self._refused.add(pseq)
        return True

    def retry(self, reason: str, now: float, wait_s: float = 0.0) -> None:
        """Take notice that something is missing, or that there is no room for it now.

        Args:
            reason: as in `Retry`: `gap`, or what there is no room for.
            now: monotonic seconds.
            wait_s: how long to wait, where that is for our own rate or quota; an ack does not end it.
        """
        self._window = max(MIN_WINDOW_EVENTS, self._window // 2)
        self._growth = SLOW_GROWTH
        self.held_up = reason
        if reason != "gap":
            self._paused_for_quota = wait_s > 0
            self._paused_until = now + max(FULL_PAUSE_S, min(wait_s, MAX_PAUSE_S))
        self.go_back(now)

    def go_back(self, now: float) -> None:
        """Send again from the oldest un-acked event on: another ingest, or something is lost."""
        self.resent += len(self._inflight)
        self._queued.extendleft(reversed(self._inflight))
        self._inflight.clear()
        self._inflight_bytes = 0
        self._timed = None
        self._progress_at = now

    def next_deadline(self) -> float | None:
        """Return when to call `handle_timeout`; None while nothing is in flight or held back."""
        deadlines = []
        if self._inflight:
            deadlines.append(self._progress_at + self._timeout_s)
        if self._paused_until and self._queued:
            deadlines.append(self._paused_until)
        return min(deadlines, default=None)

    def handle_timeout(self, now: float) -> bool:
        """Go back if nothing has moved for the timeout; an early or repeated call does nothing.

        Returns:
            Whether it went back.
        """
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
        if not self._inflight or now < self._progress_at + self._timeout_s:
            return False
        self._timeout_s = min(MAX_TIMEOUT_S, self._timeout_s * 2)
        self.go_back(now)
        return True
