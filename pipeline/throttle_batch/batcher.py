"""All channels of one shard: what producers send, numbered once, and released when it is durable. Pure.

Sits between the stage's sockets and the channels. One wake-up of the stage is::

    receive(envelope, now)   for each message     takes, or answers with retries and nacks
    handle_timeout(now)      -> frames            what became due since
    uncommitted()            -> Commit            everything taken, for one transaction
    committed(now)           -> Release           after it is durable: acks, and the frames due now

`producers` says which messages of a numbered producer are taken. Of one that is, each event is taken as
long as its channel has room (`max_pending_bytes`); the rest is not taken: retry `full`. But a message with a
critical event is taken whole, for it flushes all that is pending; one such message at a time.

Cleanup frees memory only: of a channel's present life the end is kept in mind, as long as the journal has
it. A later event goes on with that life; after its terminal event a start begins a new one. After a life that
was cut off (`records.LifeRecord.cut`) any event does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import (
    AnyEvent,
    Catalogue,
    EventClass,
    Lost,
    Treatment,
    encode_event,
    event_type,
    read_event,
)
from pipeline.frame import Frame
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.deadlines import Deadlines
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.producers import Producer, Producers, Verdict
from pipeline.throttle_batch.records import Checkpoint, LifeRecord, Recovered
from pipeline.wire import Ack, Envelope, EnvelopeHeader, Feedback, Nack, Retry

_CLEANUP_GRAIN_S = 0.01
"""Something that is pending when cleanup is due is waited for in steps of this."""

CHECKPOINT_EVENTS = 256
"""A channel's state is kept again after so many events; a restart folds at most about as many."""

_STARTS = frozenset({"scanStarted", "reportStarted"})


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
    boot_ms: the wall clock at `now`, epoch milliseconds: epochs are made from it, so that a later run's
        are greater.
    now: monotonic seconds.

    Attributes:
        counters: what was taken, dropped and why; names as in docs/OPERATIONS.md.
    """

    def __init__(self, config: ThrottleBatchConfig, catalogue: Catalogue, boot_ms: int, now: float) -> None:
        self._config = config
        self._catalogue = catalogue
        self._boot_ms = boot_ms
        self._boot_now = now
        self._current: dict[str, Channel] = {}
        self._lives: dict[tuple[str, int], Channel] = {}
        self._past: dict[str, LifeRecord] = {}
        self._wakeup = _Wakeup()
        self._owed: dict[tuple[str, int], Channel] = {}
        self._frame_deadlines = Deadlines()
        self._cleanup_deadlines = Deadlines()
        self._gone: list[tuple[str, int]] = []
        self.counters: Counter[str] = Counter()
        self._producers = Producers(config.limits.max_producers, self.counters)

    def restore(self, recovered: Recovered, now: float) -> None:
        """Take in what a journal knows; call it once, before anything else.

        Lives whose cleanup is not due are in memory again; of the others only the end is kept in mind.
        """
        for record in recovered.lives:  # by ascending epoch: the last of a channel is its present life
            channel = self._open(record.channel, record.epoch, now)
            channel.restore(record, self._catalogue, now, self._wall_ms(now))
            if channel.expired(now):
                self._retire(channel)
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
            self._nack(header, header.pseq, RejectReason.FENCED, "a later process uses the same producer id")
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
        header = envelope.header
        rejected = {header.pseq + offset for offset, _ in header.rejected}
        events = iter(envelope.events)
        fresh: list[tuple[int, bytes | None]] = []
        for number in range(header.pseq, header.pseq + len(envelope.events) + len(rejected)):
            raw = None if number in rejected else next(events)
            if number > producer.taken:
                fresh.append((number, raw))
        read = [(number, raw, self._read(raw) if raw is not None else None) for number, raw in fresh]
        critical = any(item is not None and item[1].event_class is EventClass.CRITICAL for _, _, item in read)
        channel: Channel | None = None
        forced: Channel | None = None
        accepted = 0
        for number, raw, item in read:
            if raw is None or item is None:
                producer.taken = number  # a tombstone: its sender was told why
                continue
            event, treatment = item
            if channel is None or treatment.event_class is EventClass.CRITICAL:
                channel = self._channel_for(header.channel, event, now)
            if channel is not None and critical and channel.has_room(0):
                forced = channel
            if channel is None or not (channel is forced or channel.has_room(len(raw))):
                self._retry(header, producer, "full", now)
                break
            if treatment.terminal and channel.terminal_accepted:
                self._nack(header, number, RejectReason.AFTER_TERMINAL, f"{header.channel} has already ended")
                producer.refuse(self._wakeup.nacks[-1])
            else:
                channel.accept(raw, event, treatment, now)
                self._wakeup.channels[channel.name, channel.epoch] = channel
                accepted += 1
            producer.taken = number
        self.counters["events"] += accepted

    def _receive_foreign(self, envelope: Envelope, now: float) -> None:
        for raw in envelope.events:
            item = self._read(raw)
            if item is None:
                continue
            event, treatment = item
            channel = self._channel_for(envelope.header.channel, event, now)
            if channel is None:
                self.counters["dropped{reason=max_channels}"] += 1
                continue
            channel.best_effort = True
            if treatment.terminal and channel.terminal_accepted:
                self.counters[f"rejected{{reason={RejectReason.AFTER_TERMINAL}}}"] += 1
            elif treatment.event_class is EventClass.CRITICAL or channel.has_room(len(raw)):
                self._accept(channel, raw, event, treatment, now)
            else:
                channel.lost += 1
                self._owed[channel.name, channel.epoch] = channel
                self.counters["dropped{reason=pending_full}"] += 1

    def _read(self, raw: bytes) -> tuple[AnyEvent, Treatment] | None:
        try:
            event = read_event(raw)
        except EventRejected as error:  # only a peer that went round ingest can send this
            self.counters[f"rejected{{reason={error.reason}}}"] += 1
            return None
        return event, self._catalogue.treatment(event, raw)

    def _accept(
        self, channel: Channel, raw: bytes, event: AnyEvent, treatment: Treatment, now: float
    ) -> None:
        channel.accept(raw, event, treatment, now)
        self._wakeup.channels[channel.name, channel.epoch] = channel
        self.counters["events"] += 1

    def _channel_for(self, name: str, event: AnyEvent, now: float) -> Channel | None:
        """Return the channel's present life; a start after the end begins a new one; None at the limit."""
        channel = self._current.get(name)
        past = self._past.get(name)
        starts = event_type(event) in _STARTS
        if channel is not None and not (channel.cut or (channel.terminal_accepted and starts)):
            return channel
        if len(self._lives) >= self._config.limits.max_channels:
            return None
        if past is not None and not (past.cut or (past.ended and starts)):
            channel = self._open(name, past.epoch, now)
            channel.restore(past, self._catalogue, now, self._wall_ms(now))
            channel.keep_from(now)
            return channel
        epoch = self._wall_ms(now)
        if channel is not None:
            epoch = max(epoch, channel.epoch + 1)
            self._wakeup.channels[name, channel.epoch] = channel  # to be closed, ahead of the new life
        elif past is not None:
            epoch = max(epoch, past.epoch + 1)
        return self._open(name, epoch, now)

    def _open(self, name: str, epoch: int, now: float) -> Channel:
        """Make a life the channel's present one."""
        cleanup = self._config.cleanup
        after_s = cleanup.report_cleanup_after_s if name.startswith("report/") else cleanup.cleanup_after_s
        channel = Channel(
            name, epoch, self._config.batch, after_s, cleanup.idle_cleanup_s, now, self._wall_ms(now)
        )
        self._past.pop(name, None)
        self._current[name] = channel
        self._lives[name, epoch] = channel
        return channel

    def _wall_ms(self, now: float) -> int:
        return self._boot_ms + int((now - self._boot_now) * 1000)

    def _retry(self, header: EnvelopeHeader, producer: Producer, reason: str, now: float) -> None:
        self.counters[f"not_taken{{reason={reason}}}"] += 1
        if producer.may_ask(now):
            self._wakeup.retries.append(
                Retry(header.pid, header.inc, header.channel, producer.taken + 1, reason)
            )

    def _nack(self, header: EnvelopeHeader, pseq: int, reason: RejectReason, message: str) -> None:
        self.counters[f"rejected{{reason={reason}}}"] += 1
        self._wakeup.nacks.append(Nack(header.pid, header.inc, header.channel, pseq, reason, message))

    # --- out --------------------------------------------------------------------------------------

    def uncommitted(self) -> Commit:
        """Return everything taken that is not durable yet; call `committed` once it is."""
        for life, channel in list(self._owed.items()):
            raw = encode_event(Lost(count=channel.lost, reason="pending_full"))
            # A life that is about to be closed must be told now: nothing of it may follow its successor.
            if channel.has_room(len(raw)) or self._current.get(channel.name) is not channel:
                del self._owed[life]
                event = read_event(raw)
                channel.lost = 0
                # Its time of receipt is that of what is already waiting: it must not delay a frame.
                self._accept(
                    channel, raw, event, self._catalogue.treatment(event, raw), channel.last_event_at
                )
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
        checkpoints = [channel.checkpoint(1) for channel in self._lives.values()]
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
        for life, channel in wakeup.channels.items():
            frames.extend(channel.committed(now))
            if self._current.get(channel.name) is not channel:
                frames.extend(channel.close())
            if life in self._lives:  # the wake-up that replaced a life may also have freed it
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
        self._retire(channel)
        self._gone.append((channel.name, channel.epoch))
        self.counters["channels_cleaned_up"] += 1

    def _retire(self, channel: Channel) -> None:
        """Take a life out of memory; of the present one its end is kept in mind."""
        del self._lives[channel.name, channel.epoch]
        self._owed.pop((channel.name, channel.epoch), None)
        self._frame_deadlines.drop(channel)
        if self._current.get(channel.name) is channel:
            del self._current[channel.name]
            self._past[channel.name] = LifeRecord(
                channel.name,
                channel.epoch,
                channel.head_seq,
                self._wall_ms(channel.terminal_at) if channel.terminal_at is not None else None,
                self._wall_ms(channel.last_event_at),
                channel.snapshot(),
                cut=channel.cut,
            )

    def forget(self, name: str, epoch: int) -> None:
        """Take notice that a life whose memory was freed is nowhere any more."""
        past = self._past.get(name)
        if past is not None and past.epoch == epoch:
            del self._past[name]

    def take_gone(self) -> list[tuple[str, int]]:
        """Return (channel, epoch) of the lives freed since the last call."""
        gone, self._gone = self._gone, []
        return gone

    # --- look -------------------------------------------------------------------------------------

    def current(self, name: str) -> Channel | None:
        """Return the present life of a channel."""
        return self._current.get(name)

    def life(self, name: str, epoch: int) -> Channel | None:
        """Return one life of a channel, while its memory is kept."""
        return self._lives.get((name, epoch))

    def past(self, name: str) -> LifeRecord | None:
        """Return the end of a channel whose memory was freed, while the journal has it."""
        return self._past.get(name)

    def channels(self) -> list[Channel]:
        """Return the present life of every channel."""
        return list(self._current.values())
