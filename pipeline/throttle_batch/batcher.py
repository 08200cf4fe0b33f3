"""All channels of one shard: what producers send, numbered once, and released when it is durable. Pure.

Sits between the stage's sockets and the channels. One wake-up of the stage is::

    receive(envelope, now)   for each message     takes, or answers with retries and nacks
    handle_timeout(now)      -> frames            what became due since
    uncommitted()            -> Commit            everything taken, for one transaction
    committed(now)           -> Release           after it is durable: acks, and the frames due now

What is taken, `intake` says; which life of a channel it goes to, `lives`; when frames leave, `channel`; what
is added because a scan does not go on, `watch`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from pipeline.changes import Changes
from pipeline.event import Catalogue
from pipeline.frame import Frame
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.deadlines import Deadlines
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.intake import Intake
from pipeline.throttle_batch.lives import Lives
from pipeline.throttle_batch.records import NOT_POSTED, Checkpoint, LifeRecord, LifeState, Posted, Recovered
from pipeline.throttle_batch.watch import Watch
from pipeline.wire import Ack, Envelope, Feedback, Reached

_CLEANUP_GRAIN_S = 0.01
"""Something that is pending when cleanup is due is waited for in steps of this."""

CHECKPOINT_EVENTS = 256
"""A channel's state is kept again after so many events, a large one after more: see `Channel.checkpoint`."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one wake-up took: for one transaction.

    Attributes:
        chunks: the new events, per channel.
        acks: how far each producer is that has got further.
        checkpoints: states to keep: of channels long not kept, and of those whose memory was freed.
        posted: (pid, channel) -> what is kept with an ack of those that post.
        forgotten: (pid, channel) of producers that are remembered no more; before the acks.
    """

    chunks: list[Chunk]
    acks: list[Ack]
    checkpoints: list[Checkpoint]
    posted: dict[tuple[str, str], Posted] = field(default_factory=dict)
    forgotten: list[tuple[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.chunks or self.acks or self.checkpoints or self.forgotten)


@dataclass(frozen=True, slots=True)
class Release:
    """What may leave now that a commit is durable: `feedback` to producers, then `frames` in order."""

    feedback: Feedback
    frames: list[Frame]


class Batcher:
    """Args:
    config: budget, cleanup and limits.
    catalogue: how each event type is treated.
    boot_ms: the wall clock at `now`, epoch milliseconds: epochs are made from it.
    now: monotonic seconds.

    Attributes:
        counters: what was taken, dropped and why; names as in docs/ops/COUNTERS.md.
        changes: which channels are others than they were, in lists.
    """

    def __init__(self, config: ThrottleBatchConfig, catalogue: Catalogue, boot_ms: int, now: float) -> None:
        self._frame_deadlines = Deadlines()
        self._cleanup_deadlines = Deadlines()
        self._gone: list[tuple[str, int]] = []
        self.counters: Counter[str] = Counter()
        self.changes = Changes()
        self._lives = Lives(config, catalogue, boot_ms, now, self.counters)
        self._intake = Intake(config.limits, catalogue, self._lives, self.counters)
        self._watch = Watch(now)
        self._checkpoints: dict[tuple[str, int], Checkpoint] = {}

    def follow(self, config: ThrottleBatchConfig, now: float) -> None:
        """Go on with another configuration: its budget and limits, when channels stall and are freed.

        Every channel is looked at when it would be due by that.
        """
        self._lives.follow(config)
        self._intake.limits = config.limits
        for channel in self._lives:
            self._schedule(channel, now)

    def restore(self, recovered: Recovered, now: float) -> None:
        """Take in what a journal knows; call it once, before anything else.

        Lives whose cleanup is not due are in memory again; of the others only the end is kept in mind.
        """
        self._lives.deleted_epoch = recovered.deleted_epoch
        for record in recovered.lives:  # by ascending epoch: the last of a channel is its present life
            if self._lives.is_over(record, now):  # most of them, where many are kept
                self._lives.remember(record)
                continue
            channel = self._lives.restore(record, now)
            if channel.expired(now):
                self._keep(channel.checkpoint(1))  # with what was folded since the one in the journal
                self._lives.retire(channel)
            else:
                self._schedule(channel, now)
        for known in recovered.producers:
            self._intake.restore(known)

    def receive(self, envelope: Envelope, now: float) -> None:
        """Take what can be taken of an envelope; nothing leaves before `committed`."""
        self._intake.receive(envelope, now)

    def uncommitted(self) -> Commit:
        """Return everything taken that is not durable yet; call `committed` once it is."""
        self._intake.tell_lost()
        chunks = []
        for channel in self._intake.gathered.channels.values():
            self._keep(channel.checkpoint(CHECKPOINT_EVENTS))
            chunk = channel.uncommitted()
            if chunk is not None:
                chunks.append(chunk)
        acks = [
            Ack(pid, producer.inc, channel_name, producer.taken)
            for (pid, channel_name), producer in self._intake.gathered.acks.items()
            if producer.committed < producer.taken
        ]
        posted = {
            key: producer.posted
            for key, producer in self._intake.gathered.acks.items()
            if producer.posted is not NOT_POSTED
        }
        return Commit(chunks, acks, list(self._checkpoints.values()), posted, list(self._intake.forgotten))

    def _keep(self, checkpoint: Checkpoint | None) -> None:
        """Have a checkpoint written with the next commit, in place of one that waits since that failed."""
        if checkpoint is None:
            return
        place = (checkpoint.channel, checkpoint.epoch)
        waiting = self._checkpoints.get(place)
        if waiting is not None and checkpoint.detail is None:
            checkpoint = replace(checkpoint, detail=waiting.detail)
        self._checkpoints[place] = checkpoint

    def last_commit(self) -> Commit:
        """Return the states that are not kept yet: for the journal, when the worker stops."""
        checkpoints = [channel.checkpoint(1) for channel in self._lives]
        return Commit([], [], [checkpoint for checkpoint in checkpoints if checkpoint is not None])

    def committed(self, now: float) -> Release:
        """Take notice that what `uncommitted` returned is durable.

        Returns:
            What may leave now. The acks say what is durable, never more.
        """
        gathered = self._intake.take_gathered()
        self._intake.forgotten.clear()
        self._checkpoints.clear()
        acks = []
        reached = []
        for (pid, name), producer in gathered.acks.items():
            producer.committed = producer.taken
            acks.append(Ack(pid, producer.inc, name, producer.committed))
            posted = producer.posted
            if posted is not NOT_POSTED:
                reached.append(Reached(pid, producer.inc, name, posted.epoch, posted.seq, posted.digest))
        frames: list[Frame] = []
        for channel in gathered.channels.values():
            frames.extend(channel.committed(now))
            if not self._lives.is_present(channel):
                frames.extend(channel.close())
            if self._lives.holds(channel):  # the wake-up that replaced a life may also have freed it
                self._schedule(channel, now)
        return Release(Feedback(acks, gathered.retries, gathered.nacks, reached), frames)

    def next_deadline(self) -> float | None:
        """Return when to call `handle_timeout`, or None when there is nothing to wait for."""
        deadlines = [self._frame_deadlines.first(), self._cleanup_deadlines.first(), self._watch.first()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timeout(self, now: float) -> list[Frame]:
        """Return the frames that became due, and free the channels whose time is over.

        An early or repeated call does nothing.
        """
        frames: list[Frame] = []
        while (channel := self._frame_deadlines.pop_due(now)) is not None:
            frames.extend(channel.handle_timeout(now))
            self._schedule_frame(channel, now)
        while (channel := self._cleanup_deadlines.pop_due(now)) is not None:
            if channel.expired(now):
                self._free(channel)
            else:
                self._schedule(channel, now)
        while (said := self._watch.next_said(now)) is not None:
            self._intake.say(*said, now)
        return frames

    def _schedule(self, channel: Channel, now: float) -> None:
        self._schedule_frame(channel, now)
        # Renewed when it comes up, not at every event; moved forward only when the channel has ended.
        self._cleanup_deadlines.set(max(channel.cleanup_at(), now + _CLEANUP_GRAIN_S), channel)
        self._watch.see_to(channel)

    def _schedule_frame(self, channel: Channel, now: float) -> None:
        deadline = channel.next_deadline(now)
        if deadline is not None:
            self._frame_deadlines.set(deadline, channel)
        self.changes.touch(channel.name)

    def _free(self, channel: Channel) -> None:
        self._keep(channel.checkpoint(1))
        self._lives.retire(channel)
        self._intake.forget(channel)
        self._frame_deadlines.drop(channel)
        self._watch.drop(channel)
        self._gone.append((channel.name, channel.epoch))
        self.changes.touch(channel.name)
        self.counters["channels_cleaned_up"] += 1

    def forget(self, name: str, epoch: int) -> None:
        """Take notice that a life whose memory was freed is nowhere any more."""
        self._lives.forget(name, epoch)

    def delete(self, name: str, epoch: int) -> list[Frame]:
        """Let go of a life that has ended and is deleted from the journal.

        Returns:
            The frames of it that were not published yet.
        """
        channel = self._lives.life(name, epoch)
        frames: list[Frame] = []
        if channel is not None:
            frames = channel.close()
            self._intake.forget(channel)
            self._frame_deadlines.drop(channel)
            self._cleanup_deadlines.drop(channel)
            self._watch.drop(channel)
        self._checkpoints.pop((name, epoch), None)
        self._lives.delete(name, epoch)
        self.changes.touch(name)
        return frames

    def deaf(self, now: float) -> None:
        """Take notice that nothing could be heard until now: no scan has been silent."""
        self._watch.deaf(now)

    def wanted(self) -> list[Channel]:
        """Return the channels to `supply` with what the journal keeps of them, before the next commit.

        What waits for that commit itself is newer, and supplied here.
        """
        wanted = []
        for channel in self._lives.take_wanted():
            waiting = self._checkpoints.get((channel.name, channel.epoch))
            if waiting is not None and waiting.detail is not None:
                channel.supply(waiting.detail)
            else:
                wanted.append(channel)
        return wanted

    def revive(self, record: LifeRecord, now: float) -> Channel:
        """Return a life as it was, to look at; it takes no part in anything."""
        return self._lives.revive(record, now)

    def waiting_state(self, name: str, epoch: int) -> LifeState | None:
        """Return the state of a freed life that is to be written with the next commit; None for none."""
        waiting = self._checkpoints.get((name, epoch))
        return waiting.state if waiting is not None else None

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

    def pending(self) -> tuple[int, int]:
        """Return what `Channel.pending` is of all channels; those that wait for nothing cost nothing."""
        each = [channel.pending for channel in self._frame_deadlines.channels()]
        return sum(events for events, _ in each), sum(size_bytes for _, size_bytes in each)

    def channels(self) -> list[Channel]:
        """Return the present life of every channel."""
        return self._lives.present()
