"""All channels of one shard: what producers send, numbered once, and released when it is durable. Pure.

Sits between the stage's sockets and the channels. One wake-up of the stage is::

    receive(envelope, now)   for each message     takes, or answers with retries and nacks
    handle_timeout(now)      -> frames            what became due since
    uncommitted()            -> Commit            everything taken, for one transaction
    committed(now)           -> Release           after it is durable: acks, and the frames due now

`producers` says which messages of a numbered producer are taken, `lives` to which life of the channel its
events go. Then, run by run:

====================================== ===============================================================
a run                                  what happens
====================================== ===============================================================
of a life that is another's            refused, `scan_owned`; a claim on a life that others feed as well
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
from pipeline.event import Catalogue, EventClass, Lost, encode_event
from pipeline.frame import Frame
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.deadlines import Deadlines
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.lives import Lives
from pipeline.throttle_batch.producers import Producer, Producers, Verdict
from pipeline.throttle_batch.records import Checkpoint, LifeRecord, Recovered
from pipeline.throttle_batch.runs import Run, read_runs
from pipeline.wire import Ack, Envelope, EnvelopeHeader, Feedback, Nack, Retry

_CLEANUP_GRAIN_S = 0.01
"""Something that is pending when cleanup is due is waited for in steps of this."""

CHECKPOINT_EVENTS = 256
"""A channel's state is kept again after so many events; a restart folds at most about as many."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one wake-up took: for one transaction.

    Attributes:
        chunks: the new events, per channel.
        acks: how far each producer is that has got further.
        checkpoints: states to keep: of channels long not kept, and of those whose memory was freed.
    """

    chunks: list[Chunk]
    acks: list[Ack]
    checkpoints: list[Checkpoint]

    def __bool__(self) -> bool:
        return bool(self.chunks or self.acks or self.checkpoints)


@dataclass(frozen=True, slots=True)
class Release:
    """What may leave now that a commit is durable: `feedback` to producers, then `frames` in order."""

    feedback: Feedback
    frames: list[Frame]


@dataclass(slots=True)
class _Wakeup:
    """What one wake-up has gathered so far."""

    acks: dict[tuple[str, str], Producer] = field(default_factory=dict)
    retries: list[Retry] = field(default_factory=list)
    nacks: list[Nack] = field(default_factory=list)
    channels: dict[tuple[str, int], Channel] = field(default_factory=dict)
    checkpoints: dict[tuple[str, int], Checkpoint] = field(default_factory=dict)


class Batcher:
    """Args:
    config: budget, cleanup and limits.
    catalogue: how each event type is treated.
    boot_ms: the wall clock at `now`, epoch milliseconds: epochs are made from it.
    now: monotonic seconds.

    Attributes:
        counters: what was taken, dropped and why; names as in docs/OPERATIONS.md.
    """

    def __init__(self, config: ThrottleBatchConfig, catalogue: Catalogue, boot_ms: int, now: float) -> None:
        self._limits = config.limits
        self._catalogue = catalogue
        self._wakeup = _Wakeup()
        self._owed: dict[tuple[str, int], Channel] = {}
        self._frame_deadlines = Deadlines()
        self._cleanup_deadlines = Deadlines()
        self._gone: list[tuple[str, int]] = []
        self.counters: Counter[str] = Counter()
        self._lives = Lives(config, catalogue, boot_ms, now, self.counters)
        self._producers = Producers(config.limits.max_producers, self.counters)

    def restore(self, recovered: Recovered, now: float) -> None:
        """Take in what a journal knows; call it once, before anything else.

        Lives whose cleanup is not due are in memory again; of the others only the end is kept in mind.
        """
        for record in recovered.lives:  # by ascending epoch: the last of a channel is its present life
            channel = self._lives.restore(record, now)
            if channel.expired(now):
                self._lives.retire(channel)
            else:
                self._schedule(channel, now)
        for known in recovered.producers:
            self._producers.restore(known)

    # --- in ---------------------------------------------------------------------------------------

    def receive(self, envelope: Envelope, now: float) -> None:
        """Take what can be taken of an envelope; nothing leaves before `committed`."""
        header = envelope.header
        if not header.pid:
            self._receive_foreign(envelope, now)
            return
        count = len(envelope.events) + len(header.rejected)
        producer, verdict = self._producers.judge(header, count)
        if verdict is Verdict.FENCED:
            self.counters[f"rejected{{reason={RejectReason.FENCED}}}"] += 1
            why = "a later process uses the same producer id"
            fenced = Nack(header.pid, header.inc, header.channel, header.pseq, RejectReason.FENCED, why)
            self._wakeup.nacks.append(fenced)
        elif verdict is Verdict.GAP:
            self._retry(header, producer, "gap", now)
        elif verdict is Verdict.NEW:
            self._wakeup.nacks += producer.nacks_of(header.una, header.pseq, producer.taken)
            self._take(envelope, producer, now)
        elif verdict is Verdict.AGAIN:
            self._wakeup.nacks += producer.nacks_of(header.una, header.pseq, header.pseq + count - 1)
        if verdict in (Verdict.NEW, Verdict.AGAIN):
            self._wakeup.acks[header.pid, header.channel] = producer

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
                self.counters[f"rejected{{reason={refusal.reason}}}"] += len(run)
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
                self._accept(channel, run if fitting == len(run) else run.part(0, fitting), now)
                producer.taken += fitting
            if fitting < len(run):
                self._retry(header, producer, "full", now)
                return
        producer.taken = first + len(raws) - 1

    def _receive_foreign(self, envelope: Envelope, now: float) -> None:
        for run in self._read(envelope.events):
            try:
                channel = self._channel_for(envelope.header, run, now)
            except EventRejected as refusal:
                self.counters[f"rejected{{reason={refusal.reason}}}"] += len(run)
                continue
            if channel is None:
                self.counters["dropped{reason=max_channels}"] += len(run)
                continue
            channel.best_effort = True
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
                    self.counters["dropped{reason=pending_full}"] += 1

    def _read(self, raws: Sequence[bytes | None]) -> list[Run]:
        runs, rejected = read_runs(raws, self._catalogue)
        for error in rejected:
            self.counters[f"rejected{{reason={error.reason}}}"] += 1
        return runs

    def _accept(self, channel: Channel, run: Run, now: float) -> None:
        channel.accept(run, now)
        self._wakeup.channels[channel.name, channel.epoch] = channel
        self.counters["events"] += len(run)

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
            opened, quota = self._lives.opened_by(pid), self._limits.max_channels_per_producer
            if opened >= quota:
                raise EventRejected(
                    RejectReason.QUOTA,
                    f"this producer has opened {opened} channels; max_channels_per_producer is {quota}",
                )
            ended = self._lives.current(name)
            if ended is not None:
                self._wakeup.channels[name, ended.epoch] = ended  # to be closed, ahead of the new life
            channel = self._lives.open(name, pid, now, starts=starts)
            if header.own and not channel.head_seq:
                channel.owner = pid
        if channel.terminal_accepted:
            if run.treatment.terminal:
                raise EventRejected(RejectReason.AFTER_TERMINAL, f"{name} has already ended")
        elif channel.owner != pid and (channel.owner or header.own):
            whose = f"belongs to producer {channel.owner}" if channel.owner else "is fed by others already"
            raise EventRejected(RejectReason.SCAN_OWNED, f"{name} {whose}, until it ends")
        return channel

    def _retry(self, header: EnvelopeHeader, producer: Producer, reason: str, now: float) -> None:
        self.counters[f"not_taken{{reason={reason}}}"] += 1
        if producer.may_ask(now):
            self._wakeup.retries.append(
                Retry(header.pid, header.inc, header.channel, producer.taken + 1, reason)
            )

    def _refuse(
        self, header: EnvelopeHeader, producer: Producer, pseq: int, reason: str, message: str
    ) -> None:
        """Tell a producer that a number is not taken, for good; and again with its ack, if that is lost."""
        nack = Nack(header.pid, header.inc, header.channel, pseq, reason, message)
        self._wakeup.nacks.append(nack)
        producer.refuse(nack)

    # --- out --------------------------------------------------------------------------------------

    def uncommitted(self) -> Commit:
        """Return everything taken that is not durable yet; call `committed` once it is."""
        for life, channel in list(self._owed.items()):
            raw = encode_event(Lost(count=channel.lost, reason="pending_full"))
            # A life that is about to be closed must be told now: nothing of it may follow its successor.
            if len(raw) <= channel.room_bytes or not self._lives.is_present(channel):
                del self._owed[life]
                channel.lost = 0
                # Its time of receipt is that of what is already waiting: it must not delay a frame.
                self._accept(channel, self._read([raw])[0], channel.last_event_at)
        chunks = []
        for life, channel in self._wakeup.channels.items():
            checkpoint = channel.checkpoint(CHECKPOINT_EVENTS)
            if checkpoint is not None:
                self._wakeup.checkpoints[life] = checkpoint
            chunk = channel.uncommitted()
            if chunk is not None:
                chunks.append(chunk)
        acks = [
            Ack(pid, producer.inc, channel_name, producer.taken)
            for (pid, channel_name), producer in self._wakeup.acks.items()
            if producer.committed < producer.taken
        ]
        return Commit(chunks, acks, list(self._wakeup.checkpoints.values()))

    def last_commit(self) -> Commit:
        """Return the states that are not kept yet: for the journal, when the worker stops."""
        checkpoints = [channel.checkpoint(1) for channel in self._lives]
        return Commit([], [], [checkpoint for checkpoint in checkpoints if checkpoint is not None])

    def committed(self, now: float) -> Release:
        """Take notice that what `uncommitted` returned is durable.

        Returns:
            What may leave now. The acks say what is durable, never more.
        """
        wakeup, self._wakeup = self._wakeup, _Wakeup()
        acks = []
        for (pid, name), producer in wakeup.acks.items():
            producer.committed = producer.taken
            acks.append(Ack(pid, producer.inc, name, producer.committed))
        frames: list[Frame] = []
        for channel in wakeup.channels.values():
            frames.extend(channel.committed(now))
            if not self._lives.is_present(channel):
                frames.extend(channel.close())
            if self._lives.holds(channel):  # the wake-up that replaced a life may also have freed it
                self._schedule(channel, now)
        return Release(Feedback(acks, wakeup.retries, wakeup.nacks), frames)

    def next_deadline(self) -> float | None:
        """Return when to call `handle_timeout`, or None when there is nothing to wait for."""
        deadlines = [self._frame_deadlines.first(), self._cleanup_deadlines.first()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timeout(self, now: float) -> list[Frame]:
        """Return the frames that became due, and free the channels whose time is over.

        An early or repeated call does nothing.
        """
        frames: list[Frame] = []
        while (channel := self._frame_deadlines.pop_due(now)) is not None:
            frames.extend(channel.handle_timeout(now))
            self._schedule(channel, now)
        while (channel := self._cleanup_deadlines.pop_due(now)) is not None:
            if channel.expired(now):
                self._free(channel)
            else:
                self._schedule(channel, now)
        return frames

    def _schedule(self, channel: Channel, now: float) -> None:
        deadline = channel.next_deadline(now)
        if deadline is not None:
            self._frame_deadlines.set(deadline, channel)
        # Renewed when it comes up, not at every event; moved forward only when the channel has ended.
        self._cleanup_deadlines.set(max(channel.cleanup_at(), now + _CLEANUP_GRAIN_S), channel)

    def _free(self, channel: Channel) -> None:
        checkpoint = channel.checkpoint(1)
        if checkpoint is not None:
            self._wakeup.checkpoints[channel.name, channel.epoch] = checkpoint
        self._lives.retire(channel)
        self._owed.pop((channel.name, channel.epoch), None)
        self._frame_deadlines.drop(channel)
        self._gone.append((channel.name, channel.epoch))
        self.counters["channels_cleaned_up"] += 1

    def forget(self, name: str, epoch: int) -> None:
        """Take notice that a life whose memory was freed is nowhere any more."""
        self._lives.forget(name, epoch)

    def take_gone(self) -> list[tuple[str, int]]:
        """Return (channel, epoch) of the lives freed since the last call."""
        gone, self._gone = self._gone, []
        return gone

    # --- look -------------------------------------------------------------------------------------

    def current(self, name: str) -> Channel | None:
        """Return the present life of a channel."""
        return self._lives.current(name)

    def life(self, name: str, epoch: int) -> Channel | None:
        """Return one life of a channel, while its memory is kept."""
        return self._lives.life(name, epoch)

    def past(self, name: str) -> LifeRecord | None:
        """Return the end of a channel whose memory was freed, while it is kept in mind."""
        return self._lives.past(name)

    def channels(self) -> list[Channel]:
        """Return the present life of every channel."""
        return self._lives.present()


def _with_tombstones(envelope: Envelope) -> Sequence[bytes | None]:
    """Return what each number of an envelope carries, from `pseq` on; None where ingest took it out."""
    header = envelope.header
    if not header.rejected:
        return envelope.events
    rejected = dict(header.rejected)
    events = iter(envelope.events)
    count = len(envelope.events) + len(rejected)
    return [None if offset in rejected else next(events) for offset in range(count)]
