"""One browser watching one channel: where it is, and what it gets next. Pure.

The shell asks `step` whenever the browser can take more, does what it returns, and asks again. A session
has a cursor: the next event due to it. Live frames and pages of history move it alike, so that a reader
gets every event once and in order, or is told which it was not given.

===================================== ================================================================
the cursor                            `step`
===================================== ================================================================
not joined yet, or a page is awaited  nothing
of a life it may not see, or not yet  nothing; whether it may is asked for, see `gate`
in step: its cohort gives what comes  nothing
what was written waits for the kernel nothing; if something is due, the pace learns of it
something is owed for a lag           that: the next critical frame, at last the state
the channel does not exist            nothing; it starts with the first event of what comes
no position is held                   the scan's state at some event; the cursor is behind that then
behind the channel's life             a page of the old life; when that is through, `reset`
past the head                         nothing
past what its pace has due            nothing
at an event that is too old           `lag`, and what is owed for it (`lagging`)
at the start of a held frame          that frame; at a lower pace with all that follow and are due
elsewhere                             a page from history; what that says is not held or damaged is
                                      skipped and told
===================================== ================================================================

A filter takes events out of frames and pages (`sieve`). The range of one from which nothing remains is told
with the next that has something, by `tell_position`, and in any case before anything else is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.edge.action import Action, AskAccess, Deliver, End, Fetch, FetchState, Say
from pipeline.edge.close_codes import NOT_FOUND, REPORT_COMPLETED, SCAN_COMPLETED, CloseCode
from pipeline.edge.cohort import Seat
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.edge.filter import DEFAULT_CRITICAL, Filter
from pipeline.edge.gate import Gate
from pipeline.edge.lagging import Lagging, Skipped
from pipeline.edge.pace import ACK_BEHIND_S, Pace
from pipeline.edge.sayings import Greeting, degraded, hello, lag, not_found, refiltered, reset, snapshot
from pipeline.edge.sieve import Sieve
from pipeline.edge.since import Since, resume_at
from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.wire import Document, HeadReply, Page, split_channel


class Session:
    """Args:
    channel: `kind/id`.
    variant: what the browser speaks. To change it, let it stand up first (`Feed.stand`).
    connection_id: names the connection in `hello` and in logs.
    since: where to go on from: a position; `start` gives all that is held; None gives the state.
    greeting: what `hello` says beside.
    gate: what is known of whether it may see the channel; None where there are no accounts.

    Attributes:
        pace: how many frames a second it is given.
        skipped: events this browser was not given, and told so.
        lagging: what it was not given of these because it was too slow; the others were no longer held.
        seat: its seat while it is in step; the cursor is there then.
        messages_in_step, bytes_in_step: what it was given in seats it has left.
        sieve: its filter's; its cohort's counts while it is in step.
    """

    __slots__ = (
        "_acked",
        "_asked",
        "_critical",
        "_epoch",
        "_fetched_in",
        "_fetching",
        "_gate",
        "_greeting",
        "_joined",
        "_kind",
        "_next",
        "_position_due",
        "_wants_state",
        "bytes_in_step",
        "channel",
        "connection_id",
        "lagging",
        "messages_in_step",
        "pace",
        "seat",
        "sieve",
        "since",
        "skipped",
        "variant",
    )

    def __init__(
        self,
        channel: str,
        variant: Variant,
        connection_id: str,
        since: Since,
        greeting: Greeting,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self.channel = channel
        self.variant = variant
        self.connection_id = connection_id
        self.since = since
        self.pace = Pace()
        self.skipped = 0
        self.lagging = Lagging()
        self.seat: Seat | None = None
        self.messages_in_step = 0
        self.bytes_in_step = 0
        self._kind = split_channel(channel)[0]
        self._greeting = greeting
        self._joined = False
        self._fetching = False
        self._fetched_in: int | None = None
        self._epoch: int | None = None
        self._next = 1
        self._acked: int | None = None
        self.sieve = Sieve(variant.wanted)
        self._critical: Iterable[str] = DEFAULT_CRITICAL
        self._asked: tuple[Filter | None] | None = None
        self._position_due = False
        self._wants_state = False

    @property
    def waiting(self) -> bool:
        """Whether it waits for a channel that does not exist."""
        return self._joined and self._epoch is None

    @property
    def begins_with_state(self) -> bool:
        """Whether the state is what it is given first, if the channel exists."""
        return self.since is None and not self._speaks_heroforge

    @property
    def _speaks_heroforge(self) -> bool:
        return self.variant.wire == "heroforge"

    def in_step(self, feed: Feed) -> bool:
        """Say whether it has everything there is, and nothing but the next live frame is due to it."""
        return (
            self._joined
            and not self._fetching
            and not self._wants_state
            and self._epoch is not None
            and self._epoch == feed.epoch
            and (self._gate is None or self._gate.admits(self._epoch))
            and self._next == feed.head + 1
            and self.pace.full
            and not self.lagging.owes
            and not self.wants_state_again
        )

    @property
    def wants_state_again(self) -> bool:
        """Whether it lacks the state after a lag: call `step` from time to time, whatever comes."""
        return self.lagging.state_owed and self._may_see_state

    @property
    def _may_see_state(self) -> bool:
        return not self._speaks_heroforge and self.variant.wanted is None

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
        return self.seat.next if self.seat is not None else self.sieve.due(self._next)

    def on_head(self, head: HeadReply) -> list[Action]:
        """Join: take in how far the channel is, and greet the browser.

        Where there are accounts, call `on_access` before: what may not be seen is taken for not there.
        """
        self._joined = True
        gate = self._gate
        if gate is not None and (head.epoch is None or not gate.admits(head.epoch)):
            head = HeadReply(head.id, head.channel, critical=head.critical)
        self._epoch = head.epoch
        if head.critical is not None:
            self._critical = head.critical
        if self.variant.wanted is not None:
            self._set_filter(self.variant.wanted)
        if self._speaks_heroforge:
            self._next = head.seq + 1  # live only, as its source behaves
            known = head.epoch is not None and not head.cleaned_up
            return [] if known else [not_found(self.channel)]
        resumed: bool | None = None
        start: tuple[int, int] | None = None
        if isinstance(self.since, Position):
            start = resume_at(self.since, head)
            if gate is not None and self.since.epoch != head.epoch:
                start = None  # a life before this one may have been another's
            resumed = start is not None
        if start is not None:
            self._epoch, self._next = start
        elif head.epoch is not None:
            self._epoch, self._next = head.epoch, head.held
            self._wants_state = self.since != "start"
        return [hello(self.channel, self.connection_id, self._greeting, head, resumed=resumed)]

    def on_access(self, epoch: int | None, *, may_see: bool) -> list[Action]:
        """Take in whether the channel's present life may be seen.

        Args:
            epoch: which life that is; None when there is none.
            may_see: whether it may.
        """
        assert self._gate is not None
        self._gate.judged(epoch, may_see=may_see)
        self._fetching = False
        if self._gate.barred is not None and self._epoch is not None:
            return [End(NOT_FOUND)]  # what it was given was its own; what is there now is not
        return []

    @property
    def barred(self) -> bool:
        """Whether there is a life that it may not see: nothing that happens to that is told."""
        return self._gate is not None and self._gate.barred is not None

    def recheck(self) -> None:
        """Have `step` find out anew what may be seen; let it stand up first (`Feed.stand`)."""
        if self._gate is not None:
            self._gate.recheck()

    def step(self, feed: Feed, now: float, *, idle: bool) -> Action | None:
        """Return what to do next, or None until something changes.

        The caller does it at once: the cursor has moved. After a `Fetch` call `on_page`, after a
        `FetchState` `on_state`.

        Args:
            feed: the channel's feed.
            now: monotonic seconds. While the pace is not full, call at each of its ticks, too.
            idle: whether all that was written is with the kernel.
        """
        if not self._joined or self.seat is not None:
            return None
        if self._gate is not None and feed.epoch is not None and not self._gate.admits(feed.epoch):
            if self._fetching or not self._gate.must_ask(feed.epoch):
                return None
            self._fetching = True
            return AskAccess()
        if idle and (told := self._due_besides()) is not None:
            return told
        if self._epoch != feed.epoch:
            self.lagging.begin_anew()
        if self._fetching or feed.epoch is None:
            return None
        if self._acks_are_old(feed, now):
            self.pace.behind(now)
        elif idle:
            self.pace.keeps_up(now)
        if not idle:
            if self._epoch == feed.epoch and self._next <= self._upto(feed, now):
                self.pace.behind(now)
            return None
        if self._epoch is None:
            self._epoch, self._next = feed.epoch, 1
        if self._wants_state:
            self._wants_state = False
            self._fetching = True
            return FetchState(self._epoch)
        if self._epoch > feed.epoch:
            return None
        if self._epoch == feed.epoch:
            if self._next > feed.head:
                self.lagging.live = True
            if self.lagging.waits(feed, now):
                return None
            if (told := self._show_state(feed, now)) is not None:
                return told
            upto = self._upto(feed, now)
            while self._next <= upto:
                if self.lagging.is_too_old(feed, self._next, now, full_pace=self.pace.full):
                    told = self._settle() or self._fall_back(feed, now)
                    if told is not None:
                        return told
                delivery = feed.find(self._next) if self.pace.full else feed.joined(self._next, upto)
                if delivery is None:
                    break
                self._next = delivery.last + 1
                if (passed := self.sieve.take(delivery)) is not None:
                    return Deliver(passed)
            else:
                self.lagging.live = self.lagging.live or self._next > feed.head
                return None
        self._fetching = True
        self._fetched_in = feed.epoch
        return Fetch(self._epoch, self._next)

    def _due_besides(self) -> Action | None:
        """Return what comes before anything at the cursor: the rest of a lag, another filter, a position."""
        while (owed := self.lagging.next_owed()) is not None:
            if isinstance(owed, Document):
                return self._snapshot(owed)
            wanted = self.variant.wanted
            passed = owed if wanted is None else owed.through(wanted, owed.first)
            if passed is not None:
                return Deliver(passed)
        if self._asked is not None:
            return self._settle() or self._refilter(self._asked[0])
        if self._position_due:
            self._position_due = False
            return self._settle()
        return None

    def _upto(self, feed: Feed, now: float) -> int:
        return feed.head if self.pace.full else feed.upto(self.pace.per_s, now)

    def _fall_back(self, feed: Feed, now: float) -> Action | None:
        """Leave out what is too old, if that may be."""
        if self._may_see_state and self.lagging.may_ask(now) and feed.skip(self._next) is not None:
            return self._ask_state(now)
        skipped = self.lagging.to_newest(feed, self._next, state_owed=self._may_see_state)
        return self._too_slow(skipped) if skipped is not None else None

    def _show_state(self, feed: Feed, now: float) -> Action | None:
        """Go behind the state that came after a lag, or ask for one that is owed."""
        skipped = self.lagging.to_state(feed, self._next, wanted=self._may_see_state)
        if skipped is not None:
            return self._too_slow(skipped)
        return self._ask_state(now) if self.wants_state_again and self.lagging.may_ask(now) else None

    def _ask_state(self, now: float) -> FetchState:
        assert self._epoch is not None
        self.lagging.ask(now)
        self._fetching = True
        return FetchState(self._epoch)

    def _too_slow(self, skipped: Skipped) -> Action | None:
        if skipped.events:
            return self._skip(skipped.upto, skipped.events, "too_slow")
        self._next = skipped.upto
        return self._due_besides()

    def on_state(self, document: Document) -> list[Action]:
        """Take in the scan's state: the browser is given it, after a lag by `step`, and then what follows it.

        That may be in the midst of a frame yet to come; its rest is then fetched, as after any gap. When the
        life is known no more, what is held of it is told by the page that is fetched next.
        """
        self._fetching = False
        header = document.header
        if self.lagging.take(document) or header.epoch is None:
            return []
        self._epoch, self._next = header.epoch, header.seq + 1
        return [self._snapshot(document)]

    def _snapshot(self, document: Document) -> Say:
        header = document.header
        return snapshot(self.channel, header.epoch or 0, header.seq, document.body)

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
            actions = self._gone(delivery.first) if delivery.first > self._next else []
            self._next = delivery.last + 1
            passed = self.sieve.take(delivery)
            return actions if passed is None else [*actions, Deliver(passed)]
        if header.damaged >= self._next:
            before = self._gone(header.first) if header.first > self._next else []
            return [*before, *self._gone(header.damaged + 1, "damaged")]
        if header.current is None:
            return []  # the worker has forgotten the channel: the next life will find this one forgotten
        said: list[Action] = []
        if header.held and header.head >= self._next:
            # Nothing is held from the cursor on; what was published before is gone.
            said += self._gone(header.head + 1)
        if header.current == header.epoch:
            if header.head < self._next and feed.epoch == header.epoch:
                feed.went_back(header.head)  # else the same question came again at once
            return said
        if (position := self._settle()) is not None:
            said.append(position)
        self._epoch, self._next = header.current, 1
        self.lagging.begin_anew()
        if not self._speaks_heroforge:
            reason = "went_back" if header.cut else "restarted" if header.held else "forgotten"
            said.append(reset(self.channel, header.current, reason))
        return said

    def refilter(self, wanted: Filter | None) -> None:
        """Let another filter hold from the cursor on; `step` tells the browser from where.

        Let it stand up first (`Feed.stand`). Of several that come before it has room, only the last is
        answered.
        """
        self._asked = (wanted,)

    def tell_position(self) -> None:
        """Have `step` tell a browser that was given nothing for a while how far the scan is."""
        self._position_due = self.sieve.owes

    def _refilter(self, wanted: Filter | None) -> Say:
        self._asked = None
        self._set_filter(wanted)
        return refiltered(self.channel, self._epoch, self._next, self.variant.wanted)

    def _set_filter(self, wanted: Filter | None) -> None:
        wanted = wanted.over(self._critical) if wanted is not None else None
        self.variant = replace(self.variant, wanted=wanted)
        self.sieve.change(wanted)

    def _settle(self) -> Deliver | None:
        settled = self.sieve.settle()
        return Deliver(settled) if settled is not None else None

    def _gone(self, upto: int, reason: str = "no_longer_held") -> list[Action]:
        settled = self._settle()
        told = self._skip(upto, upto - self._next, reason)
        return [settled, told] if settled is not None else [told]

    def _skip(self, upto: int, count: int, reason: str) -> Say:
        """Move the cursor to `upto`, and tell the browser how many it is not given, and why."""
        first, self._next = self._next, upto
        self.skipped += count
        return lag(self.channel, first, upto - 1, count, reason, heroforge=self._speaks_heroforge)

    def degraded(self, is_so: bool) -> list[Action]:
        """Return what to say when the channel's worker falls silent, or is there again."""
        return [] if self._speaks_heroforge else [degraded(self.channel, is_so=is_so)]

    def completed(self) -> CloseCode:
        """Return the code to close with when the channel is cleaned up."""
        return SCAN_COMPLETED if self._kind == "scan" else REPORT_COMPLETED
