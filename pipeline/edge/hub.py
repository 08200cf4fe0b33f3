"""What is live: the recent frames of each watched channel, shared by all its browsers. Pure.

Filled by `upstream`, read by `session`. A ring holds contiguous frames only: after a gap it begins anew,
and every session that is behind asks history for what it misses. So a late join, a gap, a lost tail, a
restart and a slow client are one code path: a cursor.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from pipeline.edge.config import RingSection
from pipeline.edge.sse_event import chunk, sse_event
from pipeline.edge.ws_frame import text_frame
from pipeline.frame import Position
from pipeline.wire import FrameMessage, Page, browser_batch, split_channel, split_events

if TYPE_CHECKING:
    from pipeline.edge.session import Session


class Delivery:
    """Events `first` to `last` of a channel's life, composed once for every browser that gets them.

    Args:
        channel: `kind/id`.
        epoch: the life.
        first: seq of the first event.
        last: seq of the last one.
        body: the JSON array of the events.
        merged: state events left out.
        at: each event's offset from `first`; empty when nothing was left out.
    """

    __slots__ = (
        "_body",
        "_heroforge",
        "_native",
        "_sse",
        "at",
        "channel",
        "epoch",
        "first",
        "last",
        "merged",
    )

    def __init__(
        self,
        channel: str,
        epoch: int,
        first: int,
        last: int,
        body: bytes,
        merged: int = 0,
        at: tuple[int, ...] = (),
    ) -> None:
        self.channel = channel
        self.epoch = epoch
        self.first = first
        self.last = last
        self.merged = merged
        self.at = at
        self._body = body
        self._native: bytes | None = None
        self._sse: dict[bool, bytes] = {}
        self._heroforge: tuple[bytes, int] | None = None

    @classmethod
    def of_frame(cls, frame: FrameMessage) -> Delivery:
        """Return what a live frame delivers."""
        header = frame.header
        return cls(
            frame.channel, header.epoch, header.first, header.last, frame.body, header.merged, header.at
        )

    @classmethod
    def of_page(cls, page: Page) -> Delivery:
        """Return what a page of history delivers; ask only if it has events."""
        header = page.header
        return cls(header.channel, header.epoch, header.first, header.last, page.body)

    @property
    def size_bytes(self) -> int:
        """Bytes of its events; what is composed of them is about as much again for each wire."""
        return len(self._body)

    def native(self) -> bytes:
        """Return the one WebSocket frame of the `batch` message."""
        if self._native is None:
            channel_id = split_channel(self.channel)[1]
            self._native = text_frame(
                browser_batch(channel_id, self.epoch, self.first, self.last, self.merged, self.at, self._body)
            )
        return self._native

    def sse(self, *, chunked: bool) -> bytes:
        """Return the server-sent event of the `batch` message; `chunked` as HTTP/1.1 frames a part."""
        known = self._sse.get(chunked)
        if known is None:
            channel_id = split_channel(self.channel)[1]
            batch = browser_batch(
                channel_id, self.epoch, self.first, self.last, self.merged, self.at, self._body
            )
            known = sse_event(batch, Position(self.epoch, self.last))
            if chunked:
                known = chunk(known)
            self._sse[chunked] = known
        return known

    def heroforge(self) -> tuple[bytes, int]:
        """Return HeroForge's wire, one WebSocket frame an event, and how many they are."""
        if self._heroforge is None:
            events = split_events(self._body)
            self._heroforge = b"".join(map(text_frame, events)), len(events)
        return self._heroforge


class Feed:
    """One watched channel.

    Attributes:
        channel: `kind/id`.
        epoch: its present life as far as known; None when it does not exist.
        head: the last event known to be published in that life.
        sessions: the browsers that watch it.
        ring_bytes: bytes of events held.
    """

    __slots__ = ("_limits", "_ring", "channel", "epoch", "head", "ring_bytes", "sessions")

    def __init__(self, channel: str, limits: RingSection) -> None:
        self.channel = channel
        self.epoch: int | None = None
        self.head = 0
        self.sessions: set[Session] = set()
        self.ring_bytes = 0
        self._ring: deque[Delivery] = deque()
        self._limits = limits

    def add(self, delivery: Delivery) -> bool:
        """Take in a live frame.

        Returns:
            Whether there is anything new in it.
        """
        if self.epoch is not None and delivery.epoch < self.epoch:
            return False
        if delivery.epoch != self.epoch:
            self._begin(delivery.epoch)
        held_to = self._ring[-1].last if self._ring else 0
        if delivery.last <= held_to:
            return False
        if delivery.first != held_to + 1:
            self.clear()
        self._ring.append(delivery)
        self.ring_bytes += delivery.size_bytes
        self.head = max(self.head, delivery.last)
        while len(self._ring) > self._limits.max_frames or (
            self.ring_bytes > self._limits.max_bytes and len(self._ring) > 1
        ):
            self.ring_bytes -= self._ring.popleft().size_bytes
        return True

    def learn(self, epoch: int, head: int) -> bool:
        """Take in how far the channel is, from a beacon or an answer.

        Returns:
            Whether it is further than was known.
        """
        if self.epoch is not None and (epoch, head) <= (self.epoch, self.head):
            return False
        if epoch != self.epoch:
            self._begin(epoch)
        self.head = max(self.head, head)
        return True

    def forget(self) -> None:
        """Take notice that the channel exists no more."""
        self.clear()
        self.epoch = None
        self.head = 0

    def find(self, seq: int) -> Delivery | None:
        """Return the held frame that begins with `seq` of the present life."""
        for delivery in reversed(self._ring):
            if delivery.first == seq:
                return delivery
            if delivery.first < seq:
                return None
        return None

    def clear(self) -> None:
        """Let go of the held frames; who still needs them asks history."""
        self._ring.clear()
        self.ring_bytes = 0

    def _begin(self, epoch: int) -> None:
        self.clear()
        self.epoch = epoch
        self.head = 0


class Hub:
    """Every watched channel.

    Args:
        limits: bounds of the rings.
    """

    def __init__(self, limits: RingSection) -> None:
        self._limits = limits
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
            feed = self._feeds[session.channel] = Feed(session.channel, self._limits)
        feed.sessions.add(session)
        return feed, fresh

    def leave(self, session: Session) -> bool:
        """Remove a browser.

        Returns:
            Whether nobody watches the channel any more: the caller then unsubscribes from it.
        """
        feed = self._feeds.get(session.channel)
        if feed is None:
            return False
        feed.sessions.discard(session)
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

    def add(self, frame: FrameMessage) -> Feed | None:
        """Take in a live frame.

        Returns:
            The feed whose sessions may go on; None when nobody watches or nothing is new.
        """
        feed = self._feeds.get(frame.channel)
        if feed is None or not feed.add(Delivery.of_frame(frame)):
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
        total = sum(feed.ring_bytes for feed in self._feeds.values())
        for quiet in self._feeds.values():
            if total <= self._limits.max_total_bytes:
                break
            total -= quiet.ring_bytes
            quiet.clear()
        self._held_at_most = total
