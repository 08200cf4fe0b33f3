"""One browser watching one channel: where it is, and what it gets next. Pure.

The shell asks `step` whenever the browser can take more, does what it returns, and asks again. A session
has a cursor: the next event due to it. Live frames and pages of history move it alike, so that a reader
gets every event once and in order, or is told which it was not given.

===================================== ================================================================
the cursor                            `step`
===================================== ================================================================
not joined yet, or a page is awaited  nothing
in step: its cohort gives what comes  nothing
what was written waits for the kernel nothing; if something is due, the pace learns of it
critical events of a lag are left     the next frame of them
the channel does not exist            nothing; it starts with the first event of what comes
behind the channel's life             a page of the old life; when that is through, `reset`
past the head                         nothing
past what its pace has due            nothing
at an event that is too old           `lag` up to the newest frame; the critical frames before that follow
at the start of a held frame          that frame; at a lower pace with all that follow and are due
elsewhere                             a page from history; what that says is not held or damaged is
                                      skipped and told
===================================== ================================================================

An event is too old only for a browser that has once had everything, and whose pace has fallen: one that is
still reading what was before it came, or for whom history was slow, is given all of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipeline.edge.action import Action, Deliver, Fetch, Say
from pipeline.edge.close_codes import REPORT_COMPLETED, SCAN_COMPLETED, CloseCode
from pipeline.edge.cohort import Seat
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.edge.pace import ACK_BEHIND_S, Pace
from pipeline.edge.since import Since, resume_at
from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.wire import (
    BrowserDegraded,
    BrowserHello,
    BrowserLag,
    BrowserReset,
    HeadReply,
    Page,
    encode,
    heroforge_lag,
    heroforge_not_found,
    split_channel,
)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `hello` says beside the position: the same for every session of an edge."""

    ping_interval_s: float
    client_timeout_s: float
    server_version: str
    features: tuple[str, ...] = ("since", "lag", "reset", "ping")


class Session:
    """Args:
    channel: `kind/id`.
    variant: what the browser speaks. To change it, let it stand up first (`Feed.stand`).
    connection_id: names the connection in `hello` and in logs.
    since: where to go on from: a position, `start` or None, which both give all that is held.
    greeting: what `hello` says beside.

    Attributes:
        pace: how many frames a second it is given.
        skipped: events this browser was not given, and told so.
        lagged: how many of these because it was too slow; the others were no longer held.
        seat: its seat while it is in step; the cursor is there then.
        messages_in_step, bytes_in_step: what it was given in seats it has left.
    """

    __slots__ = (
        "_acked",
        "_channel_id",
        "_epoch",
        "_fetched_in",
        "_fetching",
        "_greeting",
        "_joined",
        "_kind",
        "_live",
        "_next",
        "_owed",
        "bytes_in_step",
        "channel",
        "connection_id",
        "lagged",
        "messages_in_step",
        "pace",
        "seat",
        "since",
        "skipped",
        "variant",
    )

    def __init__(
        self, channel: str, variant: Variant, connection_id: str, since: Since, greeting: Greeting
    ) -> None:
        self.channel = channel
        self.variant = variant
        self.connection_id = connection_id
        self.since = since
        self.pace = Pace()
        self.skipped = 0
        self.lagged = 0
        self.seat: Seat | None = None
        self.messages_in_step = 0
        self.bytes_in_step = 0
        self._kind, self._channel_id = split_channel(channel)
        self._greeting = greeting
        self._joined = False
        self._fetching = False
        self._fetched_in: int | None = None
        self._epoch: int | None = None
        self._next = 1
        self._live = False
        self._owed: deque[Delivery] = deque()
        self._acked: int | None = None

    @property
    def waiting(self) -> bool:
        """Whether it waits for a channel that does not exist."""
        return self._joined and self._epoch is None

    @property
    def _speaks_heroforge(self) -> bool:
        return self.variant.wire == "heroforge"

    def in_step(self, feed: Feed) -> bool:
        """Say whether it has everything there is, and nothing but the next live frame is due to it."""
        return (
            self._joined
            and not self._fetching
            and self._epoch is not None
            and self._epoch == feed.epoch
            and self._next == feed.head + 1
            and self.pace.full
            and not self._owed
        )

    def stand(self, due: int, messages: int, bytes_sent: int) -> None:
        """Leave its seat, with what the cohort says: the next event due, and what it was given there."""
        self.seat = None
        self._next = due
        self.messages_in_step += messages
        self.bytes_in_step += bytes_sent

    def late(self, upto: int, now: float) -> None:
        """Take notice that a frame given in step waits for the kernel; the cursor goes behind it."""
        self._next = upto + 1
        self.pace.behind(now)

    def ack(self, seq: int) -> None:
        """Take notice that the browser has done with all events up to this one; call `judge` afterwards."""
        self._acked = max(seq, self._acked or 0)

    def judge(self, feed: Feed, now: float) -> None:
        """Let the pace learn whether what the browser has acked is old; without acks it is not behind."""
        if self._acks_are_old(feed, now):
            self.pace.behind(now)
        elif self.seat is not None:
            self.pace.keeps_up(now)

    def _acks_are_old(self, feed: Feed, now: float) -> bool:
        if self._acked is None or self._epoch != feed.epoch or self._acked + 1 >= self._due:
            return False
        return feed.age_s(self._acked + 1, now) > ACK_BEHIND_S

    def lag(self, feed: Feed) -> int:
        """Return how many events are published that are not given yet; 0 while that is not known."""
        if not self._joined or self._epoch != feed.epoch:
            return 0
        return max(0, feed.head + 1 - self._due)

    @property
    def _due(self) -> int:
        return self.seat.next if self.seat is not None else self._next

    def on_head(self, head: HeadReply) -> list[Action]:
        """Join: take in how far the channel is, and greet the browser."""
        self._joined = True
        self._epoch = head.epoch
        if self._speaks_heroforge:
            self._next = head.seq + 1  # live only, as its source behaves
            known = head.epoch is not None and not head.cleaned_up
            return [] if known else [Say(heroforge_not_found(self.channel))]
        resumed: bool | None = None
        start: tuple[int, int] | None = None
        if isinstance(self.since, Position):
            start = resume_at(self.since, head)
            resumed = start is not None
        if start is not None:
            self._epoch, self._next = start
        elif head.epoch is not None:
            self._epoch, self._next = head.epoch, head.held
        hello = BrowserHello(
            scan_id=self._channel_id,
            connection_id=self.connection_id,
            epoch=head.epoch,
            seq=head.seq,
            resumed=resumed,
            ping_interval=self._greeting.ping_interval_s,
            client_timeout=self._greeting.client_timeout_s,
            server_version=self._greeting.server_version,
            features=self._greeting.features,
        )
        return [Say(encode(hello))]

    def step(self, feed: Feed, now: float, *, idle: bool) -> Action | None:
        """Return what to do next, or None until something changes.

        The caller does it at once: the cursor has moved. After a `Fetch` call `on_page`.

        Args:
            feed: the channel's feed.
            now: monotonic seconds. While the pace is not full, call at each of its ticks, too.
            idle: whether all that was written is with the kernel.
        """
        if not self._joined or self._fetching or self.seat is not None or feed.epoch is None:
            return None
        if self._acks_are_old(feed, now):
            self.pace.behind(now)
        elif idle:
            self.pace.keeps_up(now)
        if not idle:
            if self._epoch == feed.epoch and self._next <= self._upto(feed, now):
                self.pace.behind(now)
            return None
        if self._owed:
            return Deliver(self._owed.popleft())
        if self._epoch is None:
            self._epoch, self._next = feed.epoch, 1
        if self._epoch > feed.epoch:
            return None
        if self._epoch == feed.epoch:
            if self._next > feed.head:
                self._live = True
            upto = self._upto(feed, now)
            if self._next > upto:
                return None
            if self._lags(feed, now) and (lag := self._fall_back(feed)) is not None:
                return lag
            delivery = feed.find(self._next) if self.pace.full else feed.joined(self._next, upto)
            if delivery is not None:
                self._next = delivery.last + 1
                return Deliver(delivery)
        self._fetching = True
        self._fetched_in = feed.epoch
        return Fetch(self._epoch, self._next)

    def _upto(self, feed: Feed, now: float) -> int:
        return feed.head if self.pace.full else feed.upto(self.pace.per_s, now)

    def _lags(self, feed: Feed, now: float) -> bool:
        return self._live and not self.pace.full and feed.is_too_old(self._next, now)

    def _fall_back(self, feed: Feed) -> Say | None:
        """Leave out what is too old up to the newest frame; its critical frames are owed."""
        skipping = feed.skip(self._next)
        if skipping is None:
            return None
        upto, criticals = skipping
        count = upto - self._next - sum(each.last + 1 - each.first for each in criticals)
        if not count:
            return None
        self._owed.extend(criticals)
        self.lagged += count
        return self._skip(upto, count, "too_slow")

    def on_page(self, page: Page, delivery: Delivery | None, feed: Feed, now: float) -> list[Action]:
        """Take in a page of history.

        Args:
            page: the answer to the `Fetch`.
            delivery: its events, composed; None when it has none.
            feed: the channel's feed, which learns what the page says of the channel's life.
            now: monotonic seconds.
        """
        self._fetching = False
        header = page.header
        if header.current is None:
            if feed.epoch == self._fetched_in:  # else a new life was heard of since the question
                feed.forget()
        elif header.current != header.epoch:
            feed.learn(header.current, 0, now)
        if delivery is not None:
            actions: list[Action] = []
            if delivery.first > self._next:
                actions.append(self._gone(delivery.first))
            self._next = delivery.last + 1
            return [*actions, Deliver(delivery)]
        if header.damaged >= self._next:
            before = [self._gone(header.first)] if header.first > self._next else []
            return [*before, self._gone(header.damaged + 1, "damaged")]
        if header.current is None:
            return []  # the worker has forgotten the channel: the next life will find this one forgotten
        said: list[Action] = []
        if header.held and header.head >= self._next:
            # Nothing is held from the cursor on; what was published before is gone.
            said.append(self._gone(header.head + 1))
        if header.current == header.epoch:
            if header.head < self._next and feed.epoch == header.epoch:
                feed.went_back(header.head)  # else the same question came again at once
            return said
        self._epoch, self._next = header.current, 1
        if not self._speaks_heroforge:
            reason = "went_back" if header.cut else "restarted" if header.held else "forgotten"
            reset = BrowserReset(scan_id=self._channel_id, epoch=header.current, reason=reason)
            said.append(Say(encode(reset)))
        return said

    def _gone(self, upto: int, reason: str = "no_longer_held") -> Say:
        return self._skip(upto, upto - self._next, reason)

    def _skip(self, upto: int, count: int, reason: str) -> Say:
        """Move the cursor to `upto`, and tell the browser how many it is not given, and why."""
        first, self._next = self._next, upto
        self.skipped += count
        if self._speaks_heroforge:
            return Say(heroforge_lag(self.channel, count))
        lag = BrowserLag(scan_id=self._channel_id, skipped=count, from_=first, to=upto - 1, reason=reason)
        return Say(encode(lag))

    def degraded(self, is_so: bool) -> list[Action]:
        """Return what to say when the channel's worker falls silent, or is there again."""
        if self._speaks_heroforge:
            return []
        reason = "worker_silent" if is_so else "worker_back"
        return [Say(encode(BrowserDegraded(scan_id=self._channel_id, degraded=is_so, reason=reason)))]

    def completed(self) -> CloseCode:
        """Return the code to close with when the channel is cleaned up."""
        return SCAN_COMPLETED if self._kind == "scan" else REPORT_COMPLETED
