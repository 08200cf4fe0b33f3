"""One life of one channel: numbers its events and decides when they leave as frames. Pure.

Sits between `batcher`, which is over all channels, and `pending`, which cuts frames. Must not know
producers, sockets, the journal or a clock.

=========================== ==========================================================================
when                        what leaves
=========================== ==========================================================================
a critical event waits      at once: what is pending before it (taking a token if there is one, never
                            waiting for it), then the critical events of this wake-up in one frame
past the critical rate      the same, but gathered for at most `critical_gather_s`
`max_batch_events` pending  a frame, as soon as there is a token
`batch_interval_s` passed   since the oldest pending event was received: a frame, as soon as there is a
                            token
nothing pending             nothing; no deadline but cleanup
=========================== ==========================================================================
"""

from __future__ import annotations

from itertools import chain

import msgspec

from pipeline.errors import EventRejected
from pipeline.event import Catalogue, EventClass, read_event
from pipeline.frame import Frame
from pipeline.throttle_batch.config import BatchSection
from pipeline.throttle_batch.event_rate import EventRate
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.pending import PendingBatch
from pipeline.throttle_batch.records import Checkpoint, LifeRecord, LifeState
from pipeline.throttle_batch.runs import Run
from pipeline.throttle_batch.scan_state import ScanState
from pipeline.throttle_batch.watchdog import Watchdog
from pipeline.token_bucket import TokenBucket

CHECKPOINT_SHARE = 8
"""A large state is kept again after as many events as this part of its entries: so writing it costs an event
about as much whatever its size, and a restart folds no more than that."""


class Channel:
    """Args:
    name: `kind/id`.
    epoch: this life.
    batch: the frame budget and its bounds.
    cleanup_after_s: how long after its terminal event the channel is kept.
    idle_cleanup_s: how long after its last event a channel without one is kept.
    now: monotonic seconds.
    created_ms: the wall clock at `now`, epoch milliseconds; for showing.
    state: what is known of the channel; a fresh one.
    watchdog: says when it stalls; None for one that is not watched.

    Attributes:
        owner: the pid of the producer that has this life for itself; empty for none.
        opened_by: the producer whose event brought it into memory, by its key or else its pid; empty for a
            foreign one without a key, or a journal.
        wants_detail: its state is not whole until `supply` gives what the journal keeps of it.
        rate: how fast events come.
        event_bytes: of all events committed.
    """

    __slots__ = (
        "_batch",
        "_cleanup_after_s",
        "_critical_bucket",
        "_critical_due",
        "_frame_bucket",
        "_idle_cleanup_s",
        "_kept",
        "_kept_from",
        "_next_seq",
        "_pending",
        "_uncommitted",
        "_uncommitted_bytes",
        "best_effort",
        "created_at",
        "created_ms",
        "cut",
        "epoch",
        "event_bytes",
        "frames",
        "last_event_at",
        "lost",
        "merged",
        "name",
        "opened_by",
        "owner",
        "published_seq",
        "rate",
        "state",
        "terminal_accepted",
        "terminal_at",
        "wants_detail",
        "watchdog",
    )

    def __init__(
        self,
        name: str,
        epoch: int,
        batch: BatchSection,
        cleanup_after_s: float,
        idle_cleanup_s: float,
        now: float,
        created_ms: int = 0,
        state: ScanState | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.name = name
        self.epoch = epoch
        self._batch = batch
        self._cleanup_after_s = cleanup_after_s
        self._idle_cleanup_s = idle_cleanup_s
        self._frame_bucket = TokenBucket(batch.max_frames_per_s)
        self._critical_bucket = TokenBucket(batch.max_critical_frames_per_s, batch.max_critical_frames_per_s)
        self._critical_due: float | None = None
        self._pending = PendingBatch(name, epoch, batch.max_frame_bytes)
        self._uncommitted: list[Run] = []
        self._uncommitted_bytes = 0
        self._next_seq = 1
        self.last_event_at = now
        self.created_at = now
        self.created_ms = created_ms
        self._kept = LifeState(folded=0, created_ms=created_ms)
        self._kept_from = float("-inf")
        self.state = state or ScanState()
        self.watchdog = watchdog
        self.wants_detail = False
        self.rate = EventRate()
        self.event_bytes = 0
        self.published_seq = 0
        self.frames = 0
        self.merged = 0
        self.lost = 0
        self.best_effort = False
        self.owner = ""
        self.opened_by = ""
        self.cut = False
        self.terminal_accepted = False
        self.terminal_at: float | None = None

    def follow(self, batch: BatchSection, cleanup_after_s: float, idle_cleanup_s: float) -> None:
        """Go on with other settings, from the next frame on; it may be due at another time then."""
        self._batch = batch
        self._cleanup_after_s = cleanup_after_s
        self._idle_cleanup_s = idle_cleanup_s
        self._frame_bucket.set(batch.max_frames_per_s, 1.0)
        self._critical_bucket.set(batch.max_critical_frames_per_s, batch.max_critical_frames_per_s)
        self._pending.limit(batch.max_frame_bytes)

    def restore(
        self, record: LifeRecord, catalogue: Catalogue, now: float, now_ms: int, *, to_look_at: bool = False
    ) -> None:
        """Go on where a journal left off: what was committed counts as published; readers ask for it.

        Args:
            record: the journal's record of this life.
            catalogue: how each event type is treated.
            now: monotonic seconds.
            now_ms: the wall clock at `now`; what was noted by it is placed in time as well as it tells.
            to_look_at: nothing will come for it any more.
        """
        state = record.state
        self.cut = record.cut
        self._next_seq = record.head + 1
        self.published_seq = record.head
        self.created_ms = state.created_ms
        self.created_at = now - max(0, now_ms - state.created_ms) / 1000
        self.last_event_at = now - max(0, now_ms - record.updated_ms) / 1000
        self.frames = state.frames
        self.merged = state.merged
        self.best_effort = state.best_effort
        self.owner = state.owner
        self.event_bytes = state.event_bytes + sum(map(len, record.tail))
        self._kept = state
        self.wants_detail = record.detail is None
        self.state.restore(state, record.detail or b"", to_look_at=to_look_at and not record.tail)
        at_s = max(0, record.updated_ms - state.created_ms) / 1000  # when each came is not known
        for seq, raw in enumerate(record.tail, record.head - len(record.tail) + 1):
            try:
                event = read_event(raw)
            except EventRejected:
                continue  # a version whose catalogue takes it did; readers are still given it
            self.state.fold(event, catalogue.treatment(event, raw), seq, at_s)
        if len(record.tail) < record.head - state.folded:
            self.state.hosts.exact = False  # some of it is damaged, or was too old
        self.state.progress.observe_anew()
        if self.watchdog is not None:
            self.watchdog.restore(self.state.status, state.present, foreign=self.best_effort)
        if record.ended_ms is not None:
            self.terminal_accepted = True
            self.terminal_at = now - max(0, now_ms - record.ended_ms) / 1000

    def supply(self, detail: bytes) -> None:
        """Make the state whole with what the journal keeps beside its last checkpoint.

        Args:
            detail: empty when it is lost: the totals are then the least there were.
        """
        self.wants_detail = False
        try:
            self.state.restore(self._kept, detail)
        except ValueError:
            self.state.restore(self._kept, b"")

    def keep_from(self, now: float) -> None:
        """Count the time until cleanup from `now`: an event has come for a life that had been freed."""
        self._kept_from = now

    @property
    def committed_seq(self) -> int:
        """The last event committed, and folded into the state."""
        return self._uncommitted[0].first - 1 if self._uncommitted else self._next_seq - 1

    def snapshot(self) -> LifeState:
        """Return the state as it is now, the part of bounded size: folded up to the last event committed."""
        if self.wants_detail:
            return self._kept  # nothing is folded before it is whole
        state = self.state
        return LifeState(
            folded=self.committed_seq,
            created_ms=self.created_ms,
            frames=self.frames,
            merged=self.merged,
            best_effort=self.best_effort,
            owner=self.owner,
            status=state.status,
            phase=state.phase,
            progress=state.progress.percent,
            counts=state.counts,
            totals=state.totals(),
            about=state.about,
            error=state.error,
            message=state.message,
            lost=state.lost,
            event_bytes=self.event_bytes,
            present=self._present,
        )

    @property
    def _present(self) -> tuple[str, ...]:
        return tuple(self.watchdog.present) if self.watchdog is not None else ()

    def checkpoint(self, least_events: int) -> Checkpoint | None:
        """Return the state for the journal; None while there is no need to write it.

        Args:
            least_events: it is needed when so many came since the last one; of a large state more than that,
                by `CHECKPOINT_SHARE`. 1: when anything came.

        What no event tells is kept at once: whose it is, who is there, and that some of it came at best
        effort; then only that changes of what is kept.
        """
        if self.wants_detail:
            return None
        if least_events > 1:
            least_events = max(least_events, self.state.weight // CHECKPOINT_SHARE)
        if self.committed_seq - self._kept.folded >= least_events:
            self._kept = self.snapshot()
            return Checkpoint(self.name, self.epoch, self._kept, self.state.record())
        kept, about = self._kept, self._kept.about
        if about.owner != self.state.about.owner:
            about = msgspec.structs.replace(about, owner=self.state.about.owner)
        told = msgspec.structs.replace(
            kept, best_effort=self.best_effort, owner=self.owner, present=self._present, about=about
        )
        if told == self._kept:
            return None
        self._kept = told
        return Checkpoint(self.name, self.epoch, told)

    @property
    def waiting_bytes(self) -> int:
        """Event bytes that are in no frame yet, committed or not."""
        return self._pending.size_bytes + self._uncommitted_bytes

    @property
    def pending(self) -> tuple[int, int]:
        """(events that are committed and in no frame yet, their bytes)."""
        return len(self._pending), self._pending.size_bytes

    @property
    def head_seq(self) -> int:
        """The last event accepted."""
        return self._next_seq - 1

    @property
    def room_bytes(self) -> int:
        """How many event bytes more stay within `max_pending_bytes`; negative when it is exceeded."""
        return self._batch.max_pending_bytes - self.waiting_bytes

    def accept(self, run: Run, now: float) -> None:
        """Number the events of a run and keep them until they are committed.

        The caller has seen to `room_bytes` and to `terminal_accepted`.
        """
        run.first = self._next_seq
        run.received_at = now
        self._next_seq += len(run)
        self._uncommitted.append(run)
        self._uncommitted_bytes += run.size_bytes
        self.last_event_at = now
        if run.treatment.terminal:
            self.terminal_accepted = True

    def uncommitted(self) -> Chunk | None:
        """Return the events that are not committed; None when all are."""
        if not self._uncommitted:
            return None
        return Chunk(
            self.name,
            self.epoch,
            self._uncommitted[0].first,
            list(chain.from_iterable(run.raws for run in self._uncommitted)),
            any(run.treatment.terminal for run in self._uncommitted),
        )

    def committed(self, now: float) -> list[Frame]:
        """Take notice that all `uncommitted` returned is durable.

        Returns:
            The frames that are due now, in order; they must be published in this order.
        """
        at_s = self.last_event_at - self.created_at
        for run in self._uncommitted:
            self._pending.add(run)
            self.event_bytes += run.size_bytes
            self.rate.add(len(run), now)
            self.state.fold_run(run.events, run.treatment, run.first, at_s)
            run.events = []
            if run.treatment.terminal:
                self.terminal_at = now
            if run.treatment.event_class is EventClass.CRITICAL and self._critical_due is None:
                self._critical_due = (
                    now if self._critical_bucket.take(now) else now + self._batch.critical_gather_s
                )
        self._uncommitted.clear()
        self._uncommitted_bytes = 0
        return self.handle_timeout(now)

    def handle_timeout(self, now: float) -> list[Frame]:
        """Return the frames that are due at `now`; an early or repeated call returns none."""
        frames: list[Frame] = []
        if self._critical_due is not None and now >= self._critical_due:
            frames = self._pending.cut_critical()
            self._critical_due = None
            if not frames[0].critical:
                self._frame_bucket.take(now)
        due = self._frame_due(now)
        if due is not None and now >= due and self._frame_bucket.take(now):
            frame = self._pending.cut()
            if frame is not None:
                frames.append(frame)
        return self._published(frames)

    def close(self) -> list[Frame]:
        """Cut all that is pending, whatever the budget: this life has ended, another begins."""
        frames = self._pending.cut_critical()
        self._critical_due = None
        while (frame := self._pending.cut()) is not None:
            frames.append(frame)
        return self._published(frames)

    def next_deadline(self, now: float) -> float | None:
        """Return when there is something to do; None when nothing is pending and nothing owed."""
        due = self._critical_due if self._critical_due is not None else self._frame_due(now)
        if due is None and self.lost:
            return now + self._batch.batch_interval_s  # a wake-up in which the `lost` event is taken
        return due

    def cleanup_at(self) -> float:
        """Return when the channel's memory may be freed, as things stand."""
        if self.terminal_at is not None:
            return max(self.terminal_at, self._kept_from) + self._cleanup_after_s
        return max(self.last_event_at, self._kept_from) + self._idle_cleanup_s

    def expired(self, now: float) -> bool:
        """Say whether the channel's memory is to be freed: long enough ended or idle, nothing waiting."""
        return now >= self.cleanup_at() and not self._pending and not self._uncommitted

    def elapsed_s(self, now: float) -> float:
        """Return the seconds from the first event to the terminal one, or to `now`."""
        return (now if self.terminal_at is None else self.terminal_at) - self.created_at

    def _frame_due(self, now: float) -> float | None:
        """When the next frame that is not critical may go; None while nothing is pending."""
        if not self._pending or self._critical_due is not None:
            return None  # a critical event that is being gathered takes along what is pending
        if len(self._pending) >= self._batch.max_batch_events:
            wanted = now
        else:
            wanted = self._pending.first_at + self._batch.batch_interval_s
        return max(wanted, self._frame_bucket.available_at(now))

    def _published(self, frames: list[Frame]) -> list[Frame]:
        for frame in frames:
            self.published_seq = frame.last
            self.frames += 1
            self.merged += frame.merged
        return frames
