"""One browser watching one channel: where it is, and what it gets next. Pure.

The shell asks `step` whenever the browser can take more, does what it returns, and asks again. A session
has a cursor: the next event due to it. Live frames and pages of history move it alike, so that a reader
gets every event once and in order, or is told which it was not given.

===================================== ================================================================
the cursor                            `step`
===================================== ================================================================
not joined yet, or a page is awaited  nothing
the channel does not exist            nothing; it starts with the first event of what comes
behind the channel's life             a page of the old life; when that is through, `reset`
past the head                         nothing
at the start of a held frame          that frame
elsewhere                             a page from history
===================================== ================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipeline.edge.close_codes import REPORT_COMPLETED, SCAN_COMPLETED, CloseCode
from pipeline.edge.hub import Delivery, Feed
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

Wire: TypeAlias = Literal["native", "heroforge"]
Since: TypeAlias = Position | Literal["start"] | None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send these events."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Say:
    """Send one message: its JSON."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask history for the events of `epoch` from `first` on; the answer goes to `on_page`."""

    epoch: int
    first: int


Action: TypeAlias = Deliver | Say | Fetch


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `hello` says beside the position: the same for every session of an edge."""

    ping_interval_s: float
    client_timeout_s: float
    server_version: str
    features: tuple[str, ...] = ("since", "lag", "reset")


def read_since(text: str | None) -> Since:
    """Read where a reader wants to go on from: `epoch:seq`, `start`, or nothing.

    Raises:
        ValueError: it is none of these.
    """
    if text is None:
        return None
    return "start" if text == "start" else Position.parse(text)


def resume_at(since: Position | None, head: HeadReply) -> tuple[int, int] | None:
    """Return (epoch, seq) of the event after a position a reader holds; None when that is not held any more.

    Args:
        since: the position.
        head: the answer to a question that named the position's epoch.
    """
    if since is None or head.asked_held is None or not head.asked_held - 1 <= since.seq <= head.asked_seq:
        return None
    return since.epoch, since.seq + 1


class Session:
    """Args:
    channel: `kind/id`.
    wire: which of the two wires the browser speaks.
    connection_id: names the connection in `hello` and in logs.
    since: where to go on from: a position, `start` or None, which both give all that is held.
    greeting: what `hello` says beside.

    Attributes:
        skipped: events this browser was not given, and told so.
    """

    def __init__(
        self, channel: str, wire: Wire, connection_id: str, since: Since, greeting: Greeting
    ) -> None:
        self.channel = channel
        self.wire: Wire = wire
        self.connection_id = connection_id
        self.since = since
        self.skipped = 0
        self._kind, self._channel_id = split_channel(channel)
        self._greeting = greeting
        self._joined = False
        self._fetching = False
        self._fetched_in: int | None = None
        self._epoch: int | None = None
        self._next = 1

    @property
    def waiting(self) -> bool:
        """Whether it waits for a channel that does not exist."""
        return self._joined and self._epoch is None

    def on_head(self, head: HeadReply) -> list[Action]:
        """Join: take in how far the channel is, and greet the browser."""
        self._joined = True
        self._epoch = head.epoch
        if self.wire == "heroforge":
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

    def step(self, feed: Feed) -> Action | None:
        """Return what to do next, or None until something changes.

        The caller does it at once: the cursor has moved. After a `Fetch` call `on_page`.
        """
        if not self._joined or self._fetching or feed.epoch is None:
            return None
        if self._epoch is None:
            self._epoch, self._next = feed.epoch, 1
        if self._epoch > feed.epoch:
            return None
        if self._epoch == feed.epoch:
            if self._next > feed.head:
                return None
            delivery = feed.find(self._next)
            if delivery is not None:
                self._next = delivery.last + 1
                return Deliver(delivery)
        self._fetching = True
        self._fetched_in = feed.epoch
        return Fetch(self._epoch, self._next)

    def on_page(self, page: Page, delivery: Delivery | None, feed: Feed) -> list[Action]:
        """Take in a page of history.

        Args:
            page: the answer to the `Fetch`.
            delivery: its events, composed; None when it has none.
            feed: the channel's feed, which learns what the page says of the channel's life.
        """
        self._fetching = False
        header = page.header
        if header.current is None:
            if feed.epoch == self._fetched_in:  # else a new life was heard of since the question
                feed.forget()
        elif header.current != header.epoch:
            feed.learn(header.current, 0)
        if delivery is not None:
            actions: list[Action] = []
            if delivery.first > self._next:
                actions.append(self._skip(delivery.first))
            self._next = delivery.last + 1
            return [*actions, Deliver(delivery)]
        if header.current is None:
            return []  # the worker has forgotten the channel: the next life will find this one forgotten
        said: list[Action] = []
        if header.held and header.head >= self._next:
            # Nothing is held from the cursor on; what was published before is gone.
            said.append(self._skip(header.head + 1))
        if header.current == header.epoch:
            return said
        self._epoch, self._next = header.current, 1
        if self.wire == "native":
            reason = "restarted" if header.held else "forgotten"
            reset = BrowserReset(scan_id=self._channel_id, epoch=header.current, reason=reason)
            said.append(Say(encode(reset)))
        return said

    def _skip(self, upto: int) -> Say:
        """Move the cursor to `upto`, and tell the browser what it is not given."""
        first, count = self._next, upto - self._next
        self._next = upto
        self.skipped += count
        if self.wire == "heroforge":
            return Say(heroforge_lag(self.channel, count))
        lag = BrowserLag(
            scan_id=self._channel_id, skipped=count, from_=first, to=upto - 1, reason="no_longer_held"
        )
        return Say(encode(lag))

    def degraded(self, is_so: bool) -> list[Action]:
        """Return what to say when the channel's worker falls silent, or is there again."""
        if self.wire == "heroforge":
            return []
        reason = "worker_silent" if is_so else "worker_back"
        return [Say(encode(BrowserDegraded(scan_id=self._channel_id, degraded=is_so, reason=reason)))]

    def completed(self) -> CloseCode:
        """Return the code to close with when the channel is cleaned up."""
        return SCAN_COMPLETED if self._kind == "scan" else REPORT_COMPLETED
