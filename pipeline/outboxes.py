"""Everything an emitter has numbered and not got acked, over all channels, and what it hears of it. Pure.

Sits between the emitter, which owns the lock, the thread and the sockets, and the outboxes. What is numbered
goes into the spool, if there is one, before it can be sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.errors import RejectReason
from pipeline.event import Lost
from pipeline.event_json import encode_event
from pipeline.outbox import Outbox
from pipeline.spool import Spool
from pipeline.wire import Ack, EnvelopeHeader, Feedback, Nack

MAX_REJECTED_KEPT = 1_000

_HELD_UP = {
    "max_channels": "can open no further channel: max_channels",
    "quota": "has as many scans of this producer open as it may: quotas.max_open_scans, new_scans_per_hour",
    "rate": "takes no more a second of this producer: quotas.events_per_s, quotas.bytes_per_s",
    "full": "takes no more for now than readers can be given: max_pending_bytes",
}
"""Reason of a retry -> what there is no room for, said of the pipeline; the first one that holds is told."""


class SpoolWriter(Protocol):
    """Where what is numbered outlives the process; `spool_file` has the one that is a file."""

    def add(self, channel: str, number: int, raw: bytes) -> None:
        """Keep a channel's event, with its number."""

    def acked(self, channel: str, committed: int) -> None:
        """Take notice that everything up to a number is durable."""

    def wants_packing(self, unacked_bytes: int) -> bool:
        """Say whether to call `pack`."""

    def pack(self, pid: str, inc: int, channels: Iterable[tuple[str, int, Iterable[bytes]]]) -> None:
        """Let go of all but this."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that the pipeline will never take: its channel, its number, why."""

    channel: str
    pseq: int
    reason: str
    message: str


class Outboxes:
    """Args:
    pid: the producer's id.
    inc: its incarnation.
    own: whether it claims its channels for itself.

    Attributes:
        unacked: how many events are not acked.
        size_bytes: how many bytes they are.
        fenced: why nothing more of this producer will be taken; empty while that is not so.
        dropped: channel -> events there was no room for, which `tell_dropped` has not told yet.
        spool: where what is numbered is kept; None for nowhere.
    """

    def __init__(self, pid: str, inc: int, *, own: bool = False) -> None:
        self.pid = pid
        self.inc = inc
        self._own = own
        self.unacked = 0
        self.size_bytes = 0
        self.fenced = ""
        self.spool: SpoolWriter | None = None
        self._outboxes: dict[str, Outbox] = {}
        self._busy: dict[str, Outbox] = {}
        self.dropped: Counter[str] = Counter()
        self._rejected: list[Rejected] = []

    @classmethod
    def restored(cls, found: Spool, *, own: bool = False) -> Outboxes:
        """Return what an earlier process left in its spool: the same producer, with the same numbers.

        The incarnation is the same, too: to the worker a later one is one that begins at its `una`, and what
        was committed without our hearing of it would be taken twice.
        """
        outboxes = cls(found.pid, found.inc, own=own)
        for channel, left in found.channels.items():
            outboxes._outboxes[channel] = Outbox(channel, found.pid, found.inc, left.una, own=own)
            for raw in left.events:
                outboxes.add(channel, raw)
        return outboxes

    def __iter__(self) -> Iterator[Outbox]:
        return iter(self._outboxes.values())

    @property
    def held_up(self) -> str:
        """Why nothing more is taken of some channels, to be told; empty while it is."""
        reasons = {outbox.held_up for outbox in self._busy.values()}
        return next((text for reason, text in _HELD_UP.items() if reason in reasons), "")

    def busy(self) -> list[Outbox]:
        """Return the outboxes with something that is not acked."""
        return list(self._busy.values())

    def add(self, channel: str, raw: bytes) -> int:
        """Number an event and keep it until it is acked.

        Returns:
            Its number in its channel, from 1.

        Raises:
            OperatorError: the spool cannot be written; nothing was numbered.
        """
        outbox = self._outboxes.get(channel)
        if outbox is None:
            outbox = self._outboxes[channel] = Outbox(channel, self.pid, self.inc, own=self._own)
        if self.spool is not None:
            self.spool.add(channel, outbox.last + 1, raw)
        self._busy[channel] = outbox
        self.unacked += 1
        self.size_bytes += len(raw)
        return outbox.add(raw)

    def signs(self, sign: Literal["alive", "bye"]) -> list[EnvelopeHeader]:
        """Return what tells each channel that its producer lives, or has nothing more to say.

        A channel whose end is acked is told `bye`, once, and nothing after it: what was used once must not
        cost for as long as the emitter is open.
        """
        headers: list[EnvelopeHeader] = []
        for box in self:
            if box.left:
                continue
            said = "bye" if box.ended else sign
            headers.append(EnvelopeHeader(box.channel, self.pid, self.inc, box.last + 1, box.una, sign=said))
            if said == "bye":
                box.leave()
        return headers

    def may_send(self, channel: str) -> bool:
        """Say whether a channel's window has room: if not, an ack has to come first."""
        return self._outboxes[channel].has_room

    def drop(self, channel: str) -> None:
        """Count an event that there is no room for; `tell_dropped` says it in its channel."""
        self.dropped[channel] += 1

    def tell_dropped(self) -> None:
        """Say in each channel how many of its events were dropped, now that there is room.

        Raises:
            OperatorError: as `add`.
        """
        while self.dropped:
            channel, count = next(iter(self.dropped.items()))
            self.add(channel, encode_event(Lost(count=count, reason="emitter_full")))
            del self.dropped[channel]

    def hear(self, feedback: Feedback, now: float) -> None:
        """Take in what a worker, or an ingest, says."""
        for nack in feedback.nacks:
            self._take_nack(nack)
        for ack in feedback.acks:
            self._take_ack(ack, now)
        waits_s = {wait.channel: wait.wait_s for wait in feedback.waits}
        for retry in feedback.retries:
            outbox = self._outboxes.get(retry.channel)
            if outbox is not None:
                outbox.retry(retry.reason, now, waits_s.get(retry.channel, 0.0))
        if self.spool is not None and self.spool.wants_packing(self.size_bytes):
            self.spool.pack(self.pid, self.inc, [(box.channel, box.una, box.unacked()) for box in self])

    def take_rejected(self) -> list[Rejected]:
        """Return the events refused since the last call; beyond 1,000 the oldest are left out."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def _take_nack(self, nack: Nack) -> None:
        if nack.reason in (RejectReason.FENCED, RejectReason.PID_TAKEN):
            self._fence(nack.channel or "every channel", nack.message)
            return
        outbox = self._outboxes.get(nack.channel)
        if outbox is None or not outbox.refused(nack.pseq):
            return  # told before
        self._rejected.append(Rejected(nack.channel, nack.pseq, nack.reason, nack.message))
        del self._rejected[:-MAX_REJECTED_KEPT]

    def _take_ack(self, ack: Ack, now: float) -> None:
        outbox = self._outboxes.get(ack.channel)
        if outbox is None:
            return
        if ack.committed > outbox.last:
            # Our next numbers would be taken for those, and silently passed over.
            self._fence(
                ack.channel,
                f"event {ack.committed} is acknowledged, but {outbox.last} is the last one sent; another "
                f"process goes by the same producer id, or this is an old copy of its spool",
            )
            return
        before = outbox.size_bytes
        freed = outbox.acked(ack.committed, now)
        if not outbox:
            self._busy.pop(ack.channel, None)
        self.unacked -= freed
        self.size_bytes -= before - outbox.size_bytes
        if self.spool is not None and freed:
            self.spool.acked(ack.channel, ack.committed)

    def _fence(self, channel: str, why: str) -> None:
        self.fenced = (
            f"producer {self.pid} is fenced, {channel}: {why}; {self.unacked} events are not acknowledged, "
            f"and never will be"
        )
