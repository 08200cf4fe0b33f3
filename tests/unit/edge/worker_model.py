"""A worker as far as an edge can see it: lives of one channel, what is held of each, what it answers.

And readers that check whatever a session gives them against it. The log is never forgotten here, so that
every event a reader gets can be compared with what was published under its number.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

from pipeline.edge.action import Deliver, Say
from pipeline.edge.filter import Filter, Gist, read_filter
from pipeline.edge.session import Session
from pipeline.edge.variant import HEROFORGE, NATIVE
from pipeline.frame import Frame
from pipeline.wire import (
    Document,
    FrameMessage,
    HeadReply,
    HeadRequest,
    Page,
    PageHeader,
    PageRequest,
    StateHeader,
    StateRequest,
    decode_frame,
    decode_history_reply,
    encode,
    encode_frame,
    encode_page,
)

CHANNEL = "scan/demo"
MAX_LAG_S = 10.0


KINDS = (b"note", b"note", b"portFound", b"note", b"note", b"scanStarted", b"note")


def kind(seq: int) -> bytes:
    """The type of the event a worker has published as `seq`: so that filters have something to do."""
    return KINDS[seq % len(KINDS)]


def event(epoch: int, seq: int) -> bytes:
    """The event a worker has published as `epoch:seq`: it says so itself."""
    return b'{"type":"%b","epoch":%d,"n":%d}' % (kind(seq), epoch, seq)


@dataclass
class Life:
    """One life of the channel.

    Attributes:
        head: the last event published.
        held: the oldest one that can still be given.
        damaged: those that cannot be given, although held.
        cut: it takes no more events, for it went back.
        committed: the last event committed; a frame with those after `head` is yet to come.
    """

    epoch: int
    head: int = 0
    held: int = 1
    damaged: set[int] = field(default_factory=set)
    cut: bool = False
    committed: int = 0


@dataclass
class Worker:
    """One channel's worker, across its restarts.

    Attributes:
        now: monotonic seconds, the same everywhere.
        published_at: when each (epoch, seq) left.
        criticals: (epoch, first, last) of each critical frame, in order.
        merged: the events that were left out of their frame.
        keyed: the events that are of one and the same state.
        critical: the events that make their frame a critical one.
    """

    page_events: int = 3
    current: int | None = None
    lives: dict[int, Life] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    last_epoch: int = 0
    now: float = 0.0
    published_at: dict[tuple[int, int], float] = field(default_factory=dict)
    criticals: list[tuple[int, int, int]] = field(default_factory=list)
    merged: set[tuple[int, int]] = field(default_factory=set)
    keyed: set[tuple[int, int]] = field(default_factory=set)
    critical: set[tuple[int, int]] = field(default_factory=set)

    def kind(self, epoch: int, seq: int) -> str:
        """The type of an event."""
        return "scanStarted" if (epoch, seq) in self.critical else kind(seq).decode()

    def event(self, epoch: int, seq: int) -> bytes:
        """The event published as `epoch:seq`."""
        return event(epoch, seq).replace(kind(seq), self.kind(epoch, seq).encode(), 1)

    def begin(self) -> None:
        """A new life; the one before stays readable, and its last frame is lost on the way."""
        if self.current is not None:
            ended = self.lives[self.current]
            if not ended.cut:
                for seq in range(ended.head + 1, ended.committed + 1):
                    self.published_at[ended.epoch, seq] = self.now
                ended.head = self.ends[ended.epoch] = ended.committed
        self.last_epoch += 1
        self.current = self.last_epoch
        self.lives[self.current] = Life(self.current)

    def publish(self, count: int, merged: int = 0, *, critical: bool = False) -> FrameMessage:
        """Publish a frame over `count` events.

        The first `merged` are left out, for the next one is of the same state; critical ones merge nothing.
        """
        if self.current is None or self.lives[self.current].cut:
            self.begin()
        assert self.current is not None
        life = self.lives[self.current]
        first, last = life.head + 1, max(life.head + count, life.committed)
        life.head = life.committed = self.ends[life.epoch] = last
        if critical:
            self.criticals.append((life.epoch, first, last))
            self.critical.add((life.epoch, last))
            merged = 0
        for seq in range(first, last + 1):
            self.published_at[life.epoch, seq] = self.now
        self.merged |= {(life.epoch, seq) for seq in range(first, first + merged)}
        if not critical:
            self.keyed |= {(life.epoch, seq) for seq in range(first, first + merged + 1)}
        kept = range(first + merged, last + 1)
        frame = Frame(
            CHANNEL,
            life.epoch,
            first,
            last,
            tuple(self.event(life.epoch, seq) for seq in kept),
            merged=merged,
            at=tuple(seq - first for seq in kept) if merged else (),
            critical=critical,
            state=() if critical else ((0, "state"),),
        )
        return decode_frame(encode_frame(frame))

    def commit(self, count: int) -> None:
        """Commit events that no frame brings yet."""
        if self.current is not None:
            self.lives[self.current].committed += count

    def trim(self, count: int) -> None:
        """Let go of the oldest events of the present life."""
        if self.current is not None:
            life = self.lives[self.current]
            life.held = min(life.held + count, life.head + 1)

    def damage(self, first: int, count: int) -> None:
        """Damage events of the present life, of those there are."""
        if self.current is not None:
            life = self.lives[self.current]
            life.damaged.update(range(max(first, life.held), min(first + count - 1, life.head) + 1))

    def go_back(self, count: int) -> None:
        """Start again with an older copy of the journal, which lacks the last events."""
        if self.current is not None:
            life = self.lives[self.current]
            life.head = max(life.head - count, life.held - 1)
            life.committed = life.head
            life.cut = True

    def forget(self, epoch: int) -> None:
        """Free a life, as cleanup does."""
        self.lives.pop(epoch, None)
        if self.current == epoch:
            self.current = None

    def restart(self) -> None:
        """Lose everything, as a kill does while history is in memory."""
        self.lives.clear()
        self.current = None

    def head(self, request: HeadRequest) -> HeadReply:
        if self.current is None:
            return HeadReply(request.id, request.channel)
        life = self.lives[self.current]
        asked = self.lives.get(request.epoch) if request.epoch is not None else None
        return HeadReply(
            request.id,
            request.channel,
            life.epoch,
            life.head,
            life.held,
            False,
            asked.committed if asked else 0,
            asked.held if asked else None,
        )

    def state(self, request: StateRequest) -> Document:
        epoch = request.epoch if request.epoch is not None else self.current
        life = self.lives.get(epoch or 0)
        header = StateHeader(
            request.id,
            request.channel,
            life.epoch if life else None,
            life.committed if life else 0,
        )
        body = b'{"at":[%d,%d]}' % (life.epoch, life.committed) if life else b"{}"
        reply = decode_history_reply(encode(header) + b"\n" + body)
        assert isinstance(reply, Document)
        return reply

    def page(self, request: PageRequest) -> Page:
        life = self.lives.get(request.epoch)
        first = max(request.first, life.held) if life else request.first
        last = min(first + self.page_events - 1, life.head) if life else first - 1
        last = max(last, first - 1)
        damaged = 0
        if life and last >= first:
            bad = life.damaged.intersection(range(first, last + 1))
            if first in bad:
                damaged = first
                while damaged + 1 in life.damaged and damaged < life.head:
                    damaged += 1
                last = first - 1
            elif bad:
                last = min(bad) - 1
        header = PageHeader(
            request.id,
            request.channel,
            request.epoch,
            first,
            last,
            life.head if life else 0,
            life is not None,
            self.current,
            damaged=damaged,
            cut=life is not None and life.cut,
            committed=life.committed if life and life.committed > life.head else 0,
        )
        reply = decode_history_reply(
            encode_page(header, [self.event(request.epoch, seq) for seq in range(first, last + 1)])
        )
        assert isinstance(reply, Page)
        return reply


@dataclass
class Reader:
    """What one browser has been given, checked as it comes.

    Attributes:
        epoch: the life it is in; None before the first event or reset.
        next: the event it must get, or be told of, next; None when it may begin anywhere.
        told_not_given: events it was told it is not given.
        told_since: how many of these since it was last given some.
        owed: (epoch, first, last) of the critical frames of a lag, which come before anything else.
        wanted: the filter that holds, as far as it was told.
        snapshot_due: a snapshot comes before anything else; not when the worker knows the life no more.
        state_due: the same, after the critical frames of a lag.
        state_owed: it was told of a lag, and a snapshot comes some time.
        states: how many of these came.
    """

    worker: Worker
    session: Session
    epoch: int | None = None
    next: int | None = 1
    told_not_given: int = 0
    told_since: int = 0
    told_too_slow: int = 0
    owed: deque[tuple[int, int, int]] = field(default_factory=deque)
    lag_from: int = 0
    hello: dict[str, object] | None = None
    wanted: Filter | None = None
    not_found: bool = False
    snapshot_due: bool = False
    state_due: bool = False
    state_owed: bool = False
    states: int = 0

    def on_head(self, head: HeadReply) -> None:
        """Note from where on this reader is to get everything."""
        self.epoch = head.epoch
        self.wanted = self.session.variant.wanted
        self.next = 1 if head.epoch is None else head.held
        if self.session.variant == HEROFORGE:
            self.next = head.seq + 1 if head.epoch is not None else 1
        else:
            self.snapshot_due = head.epoch is not None and self.session.since != "start"

    def take(self, action: Deliver | Say) -> None:
        if isinstance(action, Deliver):
            self._events(action)
        else:
            self._said(json.loads(action.message))

    def _events(self, action: Deliver) -> None:
        delivery = action.delivery
        self.take_bytes(delivery.encoded(self.session.variant).data, delivery.first, delivery.last)

    def take_bytes(self, data: bytes, first: int, last: int) -> int:
        """Take what is sent of the events `first` to `last`; return how many messages it is."""
        assert not self.snapshot_due
        payloads = text_payloads(data)
        filtered = 0
        if self.session.variant == HEROFORGE:
            events = [json.loads(payload) for payload in payloads]
            epoch, merged = events[0]["epoch"], last - first + 1 - len(events)
            offsets = [each["n"] - first for each in events]
            if epoch != self.epoch:  # HeroForge's wire has no word for a new life
                assert self.epoch is None or epoch > self.epoch
                assert first - 1 <= self.told_since
                self.epoch = epoch
                if not self.owed:
                    self.next = first
            self.told_since = 0
        else:
            (payload,) = payloads
            batch = json.loads(payload)
            assert batch["type"] == "batch"
            assert batch["seq"] == [first, last]
            epoch, merged, events = batch["epoch"], batch["merged"], batch["events"]
            filtered = batch["filtered"]
            offsets = batch.get("at", list(range(len(events))))
            self.epoch = epoch if self.epoch is None else self.epoch
        assert epoch == self.epoch, f"events of life {epoch} in life {self.epoch}"
        if self.owed:
            assert (epoch, first, last) == self.owed.popleft()
        else:
            assert not self.state_due
            assert first == self.next, f"event {first} came where {self.next} was due"
            self.next = last + 1
        assert len(events) + merged + filtered == last - first + 1
        assert [json.loads(self.worker.event(epoch, first + offset)) for offset in offsets] == events
        given = {first + offset for offset in offsets}
        wanted = self.wanted
        if wanted is not None:
            passing = {
                seq for seq in range(first, last + 1) if wanted.keeps(Gist(self.worker.kind(epoch, seq)))
            }
            assert given <= passing, "it was given what it does not want"
            assert all((epoch, seq) in self.worker.keyed for seq in passing - given), "only these are merged"
            assert len(passing - given) <= merged
            return len(payloads)
        assert filtered == 0
        latest = max((seq for seq in given if (epoch, seq) in self.worker.keyed), default=0)
        for seq in set(range(first, last + 1)) - given:
            assert (epoch, seq) in self.worker.keyed, "only state events are merged"
            assert seq < latest or (epoch, seq) in self.worker.merged
        return len(payloads)

    def _said(self, message: dict[str, object]) -> None:
        if message["type"] == "hello":
            assert self.hello is None
            self.hello = message
            if message["resumed"]:
                since = self.session.since
                assert isinstance(since, tuple)
                self.epoch, self.next = since.epoch, since.seq + 1
                self.snapshot_due = False
        elif message["type"] == "snapshot":
            assert not self.owed
            epoch, seq = message["epoch"], message["seq"]
            if not self.snapshot_due:
                assert self.state_due or self.state_owed, "nobody needs it"
                assert (epoch, seq) == (self.epoch, (self.next or 0) - 1), "right behind what it stands for"
                self.states += 1
            self.snapshot_due = self.state_due = self.state_owed = False
            assert isinstance(epoch, int)
            assert isinstance(seq, int)
            assert message["state"] == {"at": [epoch, seq]}
            self.epoch, self.next = epoch, seq + 1
        elif message["type"] == "lag":
            skipped = message["skippedMessages"]
            assert isinstance(skipped, int)
            assert skipped > 0
            too_slow = self.session.lagging.count != self.told_too_slow
            self._told_not_given(skipped, too_slow=too_slow)
            if self.session.variant.wire == "native":
                assert (message["reason"] == "too_slow") == too_slow
                assert message["to"] == (self.next or 0) - 1
                assert message["from"] == self.lag_from
            if message.get("reason") == "damaged":
                assert self.epoch is not None
                told = range(self.lag_from, self.lag_from + skipped)
                assert self.worker.lives[self.epoch].damaged.issuperset(told), "only what is damaged"
        elif message["type"] == "reset":
            epoch = message["epoch"]
            assert isinstance(epoch, int)
            assert self.session.variant.wire == "native"
            assert self.epoch is None or epoch > self.epoch
            if message["reason"] == "restarted" and self.epoch is not None:  # else it was given nothing yet
                assert self.next == self.worker.ends.get(self.epoch, 0) + 1, "reset before the old life's end"
            self.epoch, self.next = epoch, 1
            self.state_owed = False
            assert not self.state_due
        elif message["type"] == "filter":
            assert message["from"] == self.next
            assert self.epoch in (None, message["epoch"])
            assert not self.owed
            parts = message["filter"]
            assert parts is None or isinstance(parts, dict)
            self.wanted = read_filter(**parts) if parts is not None else None
        else:
            assert message["message"] == "Scan channel not found"
            self.not_found = True

    def _told_not_given(self, skipped: int, *, too_slow: bool) -> None:
        assert self.next is not None
        assert not self.owed
        self.lag_from = self.next
        self.told_not_given += skipped
        self.told_since += skipped
        if not too_slow:
            self.next += skipped
            return
        self.told_too_slow += skipped
        upto, epoch = self.session._next, self.session._epoch
        assert epoch is not None
        if epoch != self.epoch:  # HeroForge's wire: the new life has begun with this
            assert self.session.variant == HEROFORGE
            self.lag_from = 1
        came = self.worker.published_at[epoch, self.lag_from]
        old = self.worker.now - came > MAX_LAG_S * 39 / 40
        assert old or self.state_owed, "it was not that old; a step of ages is allowed"
        self.state_due = self.session.lagging.state_held
        self.state_owed = self.state_due or self.session.wants_state_again
        assert self.state_owed == (self.session.variant == NATIVE)
        self.owed.extend(
            critical
            for critical in self.worker.criticals
            if critical[0] == epoch and self.lag_from <= critical[2] < upto
        )
        assert all(first >= self.lag_from for _, first, _ in self.owed)
        owed = sum(last + 1 - first for _, first, last in self.owed)
        assert skipped == upto - self.lag_from - owed, "what is skipped, and what is owed, is all there is"
        self.next = upto


def text_payloads(data: bytes) -> list[bytes]:
    """Take whole unmasked text frames apart (RFC 6455, 5.2)."""
    payloads = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= start + size
        payloads.append(data[start : start + size])
        data = data[start + size :]
    return payloads
