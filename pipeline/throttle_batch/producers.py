"""How far each producer is in each channel, and what follows from it for a message. Pure.

Used by `batcher`, which takes the events. Kept by (pid, channel); `taken` is the last number taken,
`committed` the last one durable:

========================== ======== ==================================================================
the message                verdict  what happens
========================== ======== ==================================================================
an incarnation we know not          starts at its `una`: what is before, the producer no longer holds
an older incarnation       FENCED   nack `fenced`: a later process goes by the same pid
another digest             REUSED   nack `key_reused`: what goes by this pid was something else
`una` beyond taken + 1              we have forgotten what was acked (our journal was lost): jump there,
                                    count it
all <= committed           AGAIN    acked again, its nacks told again: the feedback was lost
all <= taken               TAKEN    ignored: the ack comes with the commit
starts beyond taken + 1    GAP      not taken, one retry until `taken` moves or 50 ms pass
reaches taken + 1          NEW      what is new is taken; a rejected number is taken as a tombstone
========================== ======== ==================================================================
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from pipeline.throttle_batch.records import NOT_POSTED, Posted, ProducerRecord
from pipeline.wire import EnvelopeHeader, Nack

RETRY_INTERVAL_S = 0.05
"""A producer is asked again for the same gap only after so long, or when something of it was taken."""


MAX_NACKS_KEPT = 1_000
"""Nacks kept of one (pid, channel), to tell them again; beyond it the oldest are told once only."""


class Verdict(enum.Enum):
    """What is to be done with a message; a row of the module's table each."""

    FENCED = enum.auto()
    REUSED = enum.auto()
    AGAIN = enum.auto()
    TAKEN = enum.auto()
    GAP = enum.auto()
    NEW = enum.auto()


@dataclass(slots=True)
class Producer:
    """What is known of one (pid, channel).

    Attributes:
        inc: its incarnation.
        taken: the last number taken.
        committed: the last one durable.
        posted: its digest, and where the last of its events is that came with a `bye`.
    """

    inc: int
    taken: int
    committed: int
    posted: Posted = NOT_POSTED
    _retried: int = 0
    _retried_at: float = float("-inf")
    _nacks: list[Nack] = field(default_factory=list)

    def refuse(self, nack: Nack) -> None:
        """Keep a nack, to tell it again with the ack of its number."""
        self._nacks.append(nack)
        del self._nacks[:-MAX_NACKS_KEPT]

    def nacks_of(self, una: int, first: int, last: int) -> list[Nack]:
        """Return the nacks of `first` to `last`; those before `una` the producer knows, and they go."""
        self._nacks = [nack for nack in self._nacks if nack.pseq >= una]
        return [nack for nack in self._nacks if first <= nack.pseq <= last]

    def may_ask(self, now: float) -> bool:
        """Say whether it may be asked to send again from `taken + 1` on; if so, it counts as asked."""
        if self._retried == self.taken + 1 and now - self._retried_at < RETRY_INTERVAL_S:
            return False
        self._retried = self.taken + 1
        self._retried_at = now
        return True


class Producers:
    """Args:
    max_producers: how many (pid, channel) are kept; beyond it the one unheard longest is forgotten.
    counters: where it counts `jumped`, `duplicates` and `producers_forgotten`.

    Attributes:
        forgotten: (pid, channel) of those forgotten since it was emptied: a journal forgets them, too.
    """

    def __init__(self, max_producers: int, counters: Counter[str]) -> None:
        self._max_producers = max_producers
        self._known: OrderedDict[tuple[str, str], Producer] = OrderedDict()
        self.counters = counters
        self.forgotten: list[tuple[str, str]] = []

    def restore(self, record: ProducerRecord) -> None:
        """Take in what a journal knows of one; those heard of last come last."""
        known = Producer(record.inc, record.committed, record.committed, record.posted)
        self._remember((record.pid, record.channel), known)

    def judge(self, header: EnvelopeHeader, count: int) -> tuple[Producer, Verdict]:
        """Return who sent a message and what is to be done with it.

        Args:
            header: a numbered producer's.
            count: how many numbers the message covers, the rejected ones with it.
        """
        key = (header.pid, header.channel)
        producer = self._known.get(key)
        if producer is None or header.inc > producer.inc:
            posted = Posted(0, 0, header.digest) if header.digest else NOT_POSTED
            producer = Producer(header.inc, header.una - 1, header.una - 1, posted)
            self._remember(key, producer)
        elif header.inc < producer.inc:
            return producer, Verdict.FENCED
        elif header.digest != producer.posted.digest:
            return producer, Verdict.REUSED
        self._known.move_to_end(key)
        if header.una > producer.taken + 1:
            self.counters["jumped"] += header.una - 1 - producer.taken
            producer.taken = producer.committed = header.una - 1
        last = header.pseq + count - 1
        if last <= producer.taken:
            self.counters["duplicates"] += count
            return producer, Verdict.AGAIN if last <= producer.committed else Verdict.TAKEN
        return producer, Verdict.GAP if header.pseq > producer.taken + 1 else Verdict.NEW

    def _remember(self, key: tuple[str, str], producer: Producer) -> None:
        self._known[key] = producer
        if len(self._known) > self._max_producers:
            self.forgotten.append(self._known.popitem(last=False)[0])
            self.counters["producers_forgotten"] += 1
