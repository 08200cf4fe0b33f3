"""What a shard answers readers: how far a channel is, its events, its state, whose it is, its past. Shell.

Used by `shard`, whose socket the questions come by. Reads what is in memory and what is in the journal, and
changes neither.
"""

from __future__ import annotations

from collections import Counter

from pipeline.errors import EventsDamaged, JournalError
from pipeline.log import LimitedLog, Log
from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.journal import DamagedRange, Journal
from pipeline.throttle_batch.records import LifeRecord
from pipeline.throttle_batch.shelf import Shelf
from pipeline.throttle_batch.shown import hosts_page, state_document
from pipeline.wire import (
    MAX_PAGE_BYTES,
    AccessReply,
    AccessRequest,
    HeadReply,
    HeadRequest,
    HostsHeader,
    HostsRequest,
    PageHeader,
    PageRequest,
    PastRequest,
    StateHeader,
    StateRequest,
    encode,
    encode_hosts,
    encode_page,
    encode_state,
)

_LOOKED_AT_S = 10.0
"""How long a state that was read from the journal is kept for the next question."""


class Answers:
    """Args:
    batcher: what is in memory.
    journal: what is kept.
    shelf: what is kept only there.
    critical: the types of class critical, where they are not the catalogue's own.
    log: names the shard.
    counters: where it counts.
    """

    def __init__(
        self,
        batcher: Batcher,
        journal: Journal,
        shelf: Shelf,
        critical: tuple[str, ...] | None,
        log: Log,
        counters: Counter[str],
    ) -> None:
        self._batcher = batcher
        self._journal = journal
        self._shelf = shelf
        self._critical = critical
        self._log = log
        self._limited_log = LimitedLog(log)
        self._counters = counters
        self._looked_at: Channel | None = None
        self._looked_until = float("-inf")
        self._damaged: set[DamagedRange] = set()

    def forget_old(self, now: float) -> None:
        """Let go of a state that nobody has asked for any more for a while."""
        if now > self._looked_until:
            self._looked_at = None

    def forget(self) -> None:
        """Let go of what was read: the journal has changed."""
        self._looked_at = None

    def head(self, request: HeadRequest, now: float) -> HeadReply:
        """Answer how far a channel is."""
        name = request.channel
        asked = self._ends(name, request.epoch) if request.epoch is not None else None
        asked_held, asked_seq = None, 0
        if request.epoch is not None and asked is not None:
            asked_held, asked_seq = asked[0], self._committed(name, request.epoch, asked[1])
        present = self._present(name, now)
        ends = self._ends(name, present[0]) if present is not None else None
        if present is None or ends is None:
            return HeadReply(
                request.id, name, asked_seq=asked_seq, asked_held=asked_held, critical=self._critical
            )
        held, seq = ends
        return HeadReply(
            request.id,
            name,
            present[0],
            seq,
            held,
            present[1],
            asked_seq,
            asked_held,
            self._batcher.current(name) is None,
            self._critical,
        )

    def page(self, request: PageRequest, now: float) -> bytes:
        """Answer with events; empty when the journal cannot be read: the reader asks again."""
        name = request.channel
        ends = self._ends(name, request.epoch)
        head = ends[1] if ends is not None else 0
        committed = self._committed(name, request.epoch, head)
        damaged = 0
        try:
            first, events = self._journal.read(
                name, request.epoch, max(1, request.first), head, MAX_PAGE_BYTES
            )
        except EventsDamaged as error:
            self.tell_damage(DamagedRange(name, request.epoch, error.first, error.last))
            first, events = max(request.first, error.first), []
            damaged = min(error.last, head)
        except JournalError as error:
            self._cannot_read(error, now)
            return b""
        last = first + len(events) - 1
        present = self._present(name, now)
        # Of a life before the present one nothing is to come.
        ended = present[1] if present is not None and present[0] == request.epoch else ends is not None
        header = PageHeader(
            request.id,
            name,
            request.epoch,
            first,
            last,
            head,
            ends is not None,
            present[0] if present is not None else None,
            ended and max(last, damaged) >= committed,
            damaged,
            self._journal.is_cut(name, request.epoch),
            committed if committed > head else 0,
            self._next_life(name, request.epoch, present[0], now) if present and last >= head else None,
        )
        self._counters["pages"] += 1
        return encode_page(header, events)

    def state(self, request: StateRequest | HostsRequest, now: float) -> bytes:
        """Answer with a life's state, or some of its hosts; from the journal when its memory is freed."""
        name = request.channel
        present = self._present(name, now) if request.epoch is None else None
        epoch = request.epoch if request.epoch is not None else present[0] if present is not None else 0
        live = self._batcher.life(name, epoch)
        channel = live or self._revived(name, epoch, now)
        self._counters["states"] += 1
        if channel is None:
            if isinstance(request, StateRequest):
                return encode_state(StateHeader(request.id, name), None)
            return encode_hosts(HostsHeader(request.id, name), [])
        if isinstance(request, HostsRequest):
            return hosts_page(channel, request)
        header = StateHeader(request.id, name, epoch, channel.committed_seq, live is None)
        return encode_state(header, state_document(channel, now))

    def access(self, request: AccessRequest, now: float) -> tuple[AccessReply, bool]:
        """Answer whose a life is.

        Returns:
            (the answer, whether the journal was asked for the life's state, which costs as much as a page).
        """
        name, epoch = request.channel, request.epoch
        if epoch is None:
            present = self._present(name, now)
            epoch = present[0] if present is not None else 0
        live = self._batcher.life(name, epoch)
        life = live or self._revived(name, epoch, now)
        if life is None:
            return AccessReply(request.id, name), True
        about = life.state.about
        return AccessReply(request.id, name, epoch, about.owner, about.shared_with), live is None

    def past(self, request: PastRequest, now: float) -> bytes:
        """Answer with past lives; empty when the journal cannot be read: the reader asks again."""
        try:
            return encode(self._shelf.past(request))
        except JournalError as error:
            self._cannot_read(error, now)
            return b""

    def recall(self, channel: str, epoch: int, now: float) -> LifeRecord | None:
        """Return a life as the journal keeps it; None when it does not, or cannot be read."""
        try:
            return self._journal.record(channel, epoch)
        except JournalError as error:
            self._cannot_read(error, now)
            return None

    def tell_damage(self, found: DamagedRange) -> None:
        """Count and log a range of events that nobody can be given; once."""
        if found in self._damaged:
            return
        self._damaged.add(found)
        self._counters["journal_damaged_events"] += found.last - found.first + 1
        self._log.error(
            "events in the journal are damaged; readers are told",
            channel=found.channel,
            epoch=found.epoch,
            first=found.first,
            last=found.last,
        )

    def _present(self, name: str, now: float) -> tuple[int, bool] | None:
        """Return (epoch, whether it has ended) of a channel's present life; None when there is none."""
        channel = self._batcher.current(name)
        if channel is not None:
            return channel.epoch, channel.terminal_at is not None
        past = self._batcher.past(name)
        if past is not None:
            return past.epoch, past.ended
        try:
            epoch = self._shelf.latest(name)
        except JournalError as error:
            self._cannot_read(error, now)
            epoch = None
        return (epoch, True) if epoch is not None else None  # nothing comes for it: see `lives`

    def _ends(self, name: str, epoch: int) -> tuple[int, int] | None:
        """Return (the oldest seq that can be given, the last one) of a life; None when it is unknown.

        What is in memory ends with its last published frame; what is in the journal only, with its log.
        """
        life = self._batcher.life(name, epoch)
        head = life.published_seq if life is not None else self._journal.head(name, epoch)
        if head is None:
            return None
        held = self._journal.held(name, epoch)
        return (head + 1 if held is None else min(held, head + 1)), head

    def _committed(self, name: str, epoch: int, head: int) -> int:
        """Return the last event committed of a life of which `head` is the last that can be given."""
        life = self._batcher.life(name, epoch)
        return life.committed_seq if life is not None else head

    def _next_life(self, name: str, epoch: int, present: int, now: float) -> int | None:
        """Return the life that follows another, if it is neither the present one nor unknown."""
        if epoch >= present:
            return None
        try:
            return next((each for each in self._journal.epochs(name) if epoch < each < present), None)
        except JournalError as error:
            self._cannot_read(error, now)
            return None

    def _revived(self, name: str, epoch: int, now: float) -> Channel | None:
        """Return a life that is in the journal only; the one asked for last is kept for its next pages."""
        if self._looked_at is not None and (self._looked_at.name, self._looked_at.epoch) == (name, epoch):
            return self._looked_at
        record = self.recall(name, epoch, now)
        self._looked_until = now + _LOOKED_AT_S
        self._looked_at = self._batcher.revive(record, now) if record is not None else None
        return self._looked_at

    def _cannot_read(self, error: JournalError, now: float) -> None:
        self._counters["history_failed"] += 1
        self._limited_log.warning("history cannot be read", now, problem=error)
