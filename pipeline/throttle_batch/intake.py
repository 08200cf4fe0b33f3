"""What producers send becomes numbered events of channels, or is refused, or sent back. Pure.

Under `batcher`, which asks for what a wake-up has gathered. `producers` says which messages of a numbered
producer are taken, `lives` to which life of the channel its events go. Then, run by run:

====================================== ===============================================================
a run                                  what happens
====================================== ===============================================================
of a life that is another's            refused, `scan_owned`; a claim on a life that others feed as well, and
                                       what was sent with the key of another than its owner (`by`): whose key
                                       opened it; a sign of life of such a one is not heard
a terminal event after the first       refused, `after_terminal`
that would open one channel too many   refused, `quota`
no channel can be opened               not taken: retry `max_channels`
there is room (`max_pending_bytes`)    taken
there is none                          what fits is taken, the rest not: retry `full`. But a message with
                                       a critical event is taken whole, for it flushes all that is
                                       pending; one such message at a time
====================================== ===============================================================

What is refused is nacked, and its number counts as taken; so does a number whose event ingest took out, and
that is nacked once more, with the ack, for the ingest may not have lived to say so. A foreign producer cannot
be told: what is not taken is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import Catalogue, Event, EventClass, Lost, event_type
from pipeline.event_json import encode_event
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import LimitsSection
from pipeline.throttle_batch.lives import Lives
from pipeline.throttle_batch.producers import Producer, Producers, Verdict
from pipeline.throttle_batch.records import Posted, ProducerRecord
from pipeline.throttle_batch.runs import Run, read_runs
from pipeline.wire import Envelope, EnvelopeHeader, Nack, Retry


@dataclass(slots=True)
class Gathered:
    """What the messages of one wake-up have led to.

    Attributes:
        acks: (pid, channel) -> the producer, to be acked.
        retries: what is to be sent again.
        nacks: what is refused.
        channels: (channel, epoch) -> the lives with something new in them, or to be closed.
    """

    acks: dict[tuple[str, str], Producer] = field(default_factory=dict)
    retries: list[Retry] = field(default_factory=list)
    nacks: list[Nack] = field(default_factory=list)
    channels: dict[tuple[str, int], Channel] = field(default_factory=dict)


class Intake:
    """Args:
    limits: the bounds of a shard.
    catalogue: how each event type is treated.
    lives: the lives of the shard's channels.
    counters: what was taken, dropped and why.

    Attributes:
        limits: as they hold now.
        gathered: what came since `take_gathered`.
    """

    def __init__(
        self, limits: LimitsSection, catalogue: Catalogue, lives: Lives, counters: Counter[str]
    ) -> None:
        self.limits = limits
        self._catalogue = catalogue
        self._lives = lives
        self._counters = counters
        self._producers = Producers(limits.max_producers, counters)
        self._owed: dict[tuple[str, int], Channel] = {}
        self.gathered = Gathered()

    def restore(self, known: ProducerRecord) -> None:
        """Take in how far a producer is; those heard of last come last."""
        self._producers.restore(known)

    @property
    def forgotten(self) -> list[tuple[str, str]]:
        """Which (pid, channel) the journal is to forget; empty it once that has."""
        return self._producers.forgotten

    def take_gathered(self) -> Gathered:
        """Return what was gathered, and begin anew."""
        gathered, self.gathered = self.gathered, Gathered()
        return gathered

    def receive(self, envelope: Envelope, now: float) -> None:
        """Take what can be taken of an envelope; nothing leaves before `committed`."""
        header = envelope.header
        if not header.pid:
            self._receive_foreign(envelope, now)
            return
        count = len(envelope.events) + len(header.rejected)
        if header.sign and not count:
            self._receive_sign(header, now)
            return
        producer, verdict = self._producers.judge(header, count)
        if verdict is Verdict.FENCED:
            self._counters[f"rejected{{reason={RejectReason.FENCED}}}"] += 1
            why = "a later process uses the same producer id"
            fenced = Nack(header.pid, header.inc, header.channel, header.pseq, RejectReason.FENCED, why)
            self.gathered.nacks.append(fenced)
        elif verdict is Verdict.REUSED:
            self._counters[f"rejected{{reason={RejectReason.KEY_REUSED}}}"] += 1
            why = f"digest {header.digest}: the same key came with other events before"
            reused = Nack(header.pid, header.inc, header.channel, header.pseq, RejectReason.KEY_REUSED, why)
            self.gathered.nacks.append(reused)
        elif verdict is Verdict.GAP:
            self._retry(header, producer, "gap", now)
        elif verdict is Verdict.NEW:
            self.gathered.nacks += producer.nacks_of(header.una, header.pseq, producer.taken)
            self._take(envelope, producer, now)
        elif verdict is Verdict.AGAIN:
            self.gathered.nacks += producer.nacks_of(header.una, header.pseq, header.pseq + count - 1)
        if verdict in (Verdict.NEW, Verdict.AGAIN):
            self.gathered.acks[header.pid, header.channel] = producer

    def _receive_sign(self, header: EnvelopeHeader, now: float) -> None:
        """Take notice that a producer is alive, or has nothing more to say."""
        channel = self._lives.current(header.channel)
        if channel is not None and self._is_anothers(channel, header):
            self._counters[f"rejected{{reason={RejectReason.SCAN_OWNED}}}"] += 1
            return
        _, verdict = self._producers.judge(header, 0)
        if channel is None or channel.watchdog is None or verdict is Verdict.FENCED:
            return
        self._counters[f"signs{{sign={header.sign}}}"] += 1
        if header.sign == "bye":
            changed = channel.watchdog.bye(header.pid, now)
        else:
            changed = channel.watchdog.heard(header.pid, now)
            self.say(channel, channel.watchdog.resumed(now, by_event=False), now)
        if changed:
            self.gathered.channels[channel.name, channel.epoch] = channel  # who is there is kept at once

    @staticmethod
    def _is_anothers(channel: Channel, header: EnvelopeHeader) -> bool:
        """Say whether a life is another key's, or claimed by another producer."""
        owner = channel.state.about.owner
        return (bool(header.by) and owner not in ("", header.by)) or channel.owner not in ("", header.pid)

    def _note_events(self, channel: Channel, header: EnvelopeHeader, now: float) -> None:
        """Have the watchdog hear of events that are about to be taken."""
        dog = channel.watchdog
        if dog is not None and not channel.terminal_accepted:
            if header.sign == "bye":
                dog.bye(header.pid, now)
            else:
                dog.heard(header.pid, now)
            self.say(channel, dog.resumed(now, by_event=True), now)
            dog.event(now)

    def say(self, channel: Channel, event: Event | None, now: float) -> None:
        """Add an event of our own to a channel's log; None is not said, and nothing after the end."""
        if event is None or channel.terminal_accepted:
            return
        [run] = self._read([encode_event(event)])
        self._counters[f"added{{type={event_type(run.events[0])}}}"] += 1
        self._accept(channel, run, now)

    def _take(self, envelope: Envelope, producer: Producer, now: float) -> None:
        header, before = envelope.header, producer.taken
        self._take_runs(envelope, producer, now)
        for offset, reason in header.rejected:
            if before < header.pseq + offset <= producer.taken:
                self._refuse(header, producer, header.pseq + offset, reason, "ingest has refused it")

    def _take_runs(self, envelope: Envelope, producer: Producer, now: float) -> None:
        header = envelope.header
        raws = _with_tombstones(envelope)[producer.taken + 1 - header.pseq :]
        first = producer.taken + 1
        runs = self._read(raws)
        critical = any(run.treatment.event_class is EventClass.CRITICAL for run in runs)
        forced: Channel | None = None
        for run in runs:
            producer.taken = first + run.offset - 1  # with what carries no event before it
            try:
                channel = self._channel_for(header, run, now)
            except EventRejected as refusal:
                self._counters[f"rejected{{reason={refusal.reason}}}"] += len(run)
                for number in range(first + run.offset, first + run.offset + len(run)):
                    self._refuse(header, producer, number, refusal.reason, refusal.message)
                continue
            if channel is None:
                self._retry(header, producer, "max_channels", now)
                return
            if critical and channel.room_bytes >= 0:
                forced = channel
            fitting = len(run) if channel is forced else run.fitting(channel.room_bytes)
            if fitting:
                self._note_events(channel, header, now)
                self._accept(channel, run if fitting == len(run) else run.part(0, fitting), now)
                producer.taken += fitting
                if header.sign == "bye":
                    producer.posted = Posted(channel.epoch, channel.head_seq, header.digest)
            if fitting < len(run):
                self._retry(header, producer, "full", now)
                return
        producer.taken = first + len(raws) - 1

    def _receive_foreign(self, envelope: Envelope, now: float) -> None:
        for run in self._read(envelope.events):
            try:
                channel = self._channel_for(envelope.header, run, now)
            except EventRejected as refusal:
                self._counters[f"rejected{{reason={refusal.reason}}}"] += len(run)
                continue
            if channel is None:
                self._counters["dropped{reason=max_channels}"] += len(run)
                continue
            channel.best_effort = True
            self._note_events(channel, envelope.header, now)
            if run.treatment.event_class is EventClass.CRITICAL or run.size_bytes <= channel.room_bytes:
                self._accept(channel, run, now)
                continue
            for index in range(len(run)):  # one that does not fit is no reason to drop a smaller one
                single = run.part(index, index + 1)
                if single.size_bytes <= channel.room_bytes:
                    self._accept(channel, single, now)
                else:
                    channel.lost += 1
                    self._owed[channel.name, channel.epoch] = channel
                    self._counters["dropped{reason=pending_full}"] += 1

    def _read(self, raws: Sequence[bytes | None]) -> list[Run]:
        runs, rejected = read_runs(raws, self._catalogue)
        for error in rejected:
            self._counters[f"rejected{{reason={error.reason}}}"] += 1
        return runs

    def _accept(self, channel: Channel, run: Run, now: float) -> None:
        channel.accept(run, now)
        self.gathered.channels[channel.name, channel.epoch] = channel
        self._counters["events"] += len(run)

    def _channel_for(self, header: EnvelopeHeader, run: Run, now: float) -> Channel | None:
        """Return the life that a run goes to; None when `max_channels` are in memory.

        Raises:
            EventRejected: the run is refused: `quota`, `after_terminal` or `scan_owned`.
        """
        name, pid, starts = header.channel, header.pid, run.treatment.starts
        channel = self._lives.taking(name, starts=starts)
        if channel is None:
            if self._lives.full:
                return None
            opener = f"key {header.by}" if header.by else f"pid {pid}" if pid else ""
            opened, quota = self._lives.opened_by(opener), self.limits.max_channels_per_producer
            if opened >= quota:
                raise EventRejected(
                    RejectReason.QUOTA,
                    f"this producer has opened {opened} channels; max_channels_per_producer is {quota}",
                )
            ended = self._lives.current(name)
            if ended is not None:
                self.gathered.channels[name, ended.epoch] = ended  # to be closed, ahead of the new life
            channel = self._lives.open(name, opener, now, starts=starts)
            # Whether anything of the run is taken or not: what is in memory must be freed again.
            self.gathered.channels[name, channel.epoch] = channel
            if header.own and not channel.head_seq:
                channel.owner = pid
            if header.by:
                channel.state.belongs_to(header.by)
        owner = channel.state.about.owner
        if header.by and owner not in ("", header.by):
            raise EventRejected(
                RejectReason.SCAN_OWNED,
                f"{name} belongs to {owner!r}; this was sent with the key of {header.by!r}",
            )
        if channel.terminal_accepted:
            if run.treatment.terminal:
                raise EventRejected(RejectReason.AFTER_TERMINAL, f"{name} has already ended")
        elif channel.owner != pid and (channel.owner or header.own):
            whose = f"belongs to producer {channel.owner}" if channel.owner else "is fed by others already"
            raise EventRejected(RejectReason.SCAN_OWNED, f"{name} {whose}, until it ends")
        return channel

    def _retry(self, header: EnvelopeHeader, producer: Producer, reason: str, now: float) -> None:
        self._counters[f"not_taken{{reason={reason}}}"] += 1
        if producer.may_ask(now):
            self.gathered.retries.append(
                Retry(header.pid, header.inc, header.channel, producer.taken + 1, reason)
            )

    def _refuse(
        self, header: EnvelopeHeader, producer: Producer, pseq: int, reason: str, message: str
    ) -> None:
        """Tell a producer that a number is not taken, for good; and again with its ack, if that is lost."""
        nack = Nack(header.pid, header.inc, header.channel, pseq, reason, message)
        self.gathered.nacks.append(nack)
        producer.refuse(nack)

    def tell_lost(self) -> None:
        """Put a `lost` event into each channel that owes one and has room for it."""
        for life, channel in list(self._owed.items()):
            raw = encode_event(Lost(count=channel.lost, reason="pending_full"))
            # A life that is about to be closed must be told now: nothing of it may follow its successor.
            if len(raw) <= channel.room_bytes or not self._lives.is_present(channel):
                del self._owed[life]
                channel.lost = 0
                # Its time of receipt is that of what is already waiting: it must not delay a frame.
                self._accept(channel, self._read([raw])[0], channel.last_event_at)

    def forget(self, channel: Channel) -> None:
        """Take notice that a life's memory is freed."""
        self._owed.pop((channel.name, channel.epoch), None)


def _with_tombstones(envelope: Envelope) -> Sequence[bytes | None]:
    """Return what each number of an envelope carries, from `pseq` on; None where ingest took it out."""
    header = envelope.header
    if not header.rejected:
        return envelope.events
    rejected = dict(header.rejected)
    events = iter(envelope.events)
    count = len(envelope.events) + len(rejected)
    return [None if offset in rejected else next(events) for offset in range(count)]
