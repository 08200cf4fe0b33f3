"""The lives of a shard's channels: which one an event goes to, and when a new one begins. Pure.

Used by `batcher`. A channel has one present life, and before it such as have ended and are still in memory.

================================ =====================================================================
an event comes for a channel     it goes to
================================ =====================================================================
with a present life              that one; a start after its terminal event begins a new life
whose memory was freed           the life that was freed, in memory again; a start after its terminal
                                 event begins a new one
whose life was cut off           a new life, whatever the event (`records.LifeRecord.cut`)
nothing is known of              a new life
================================ =====================================================================

Of a channel whose memory was freed only the end is kept in mind, as long as the journal has it, of
`max_past_channels` at most: beyond it the one freed longest ago is forgotten, and a later event begins a
new life. What was found is then in the journal only, and `take_wanted` tells which lives need it again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator

from pipeline.event import Catalogue
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.hosts import Budget
from pipeline.throttle_batch.records import LifeRecord
from pipeline.throttle_batch.scan_state import UNBOUNDED, ScanState
from pipeline.throttle_batch.watchdog import Watchdog


class Lives:
    """Args:
    config: budget, cleanup and limits.
    catalogue: how each event type is treated.
    boot_ms: the wall clock at `now`, epoch milliseconds: epochs are made from it, so that a later run's
        are greater.
    now: monotonic seconds.
    counters: where it counts `past_channels_forgotten`.

    Attributes:
        deleted_epoch: the greatest epoch of a life that was deleted: later ones are greater.
    """

    def __init__(
        self,
        config: ThrottleBatchConfig,
        catalogue: Catalogue,
        boot_ms: int,
        now: float,
        counters: Counter[str],
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._boot_ms = boot_ms
        self._boot_now = now
        self._counters = counters
        self._current: dict[str, Channel] = {}
        self._lives: dict[tuple[str, int], Channel] = {}
        self._past: OrderedDict[str, LifeRecord] = OrderedDict()
        self._opened: Counter[str] = Counter()
        self._budget = Budget(config.state.max_total_entries)
        self._wanted: list[Channel] = []
        self.deleted_epoch = 0

    def __iter__(self) -> Iterator[Channel]:
        """Yield every life in memory."""
        return iter(self._lives.values())

    def follow(self, config: ThrottleBatchConfig) -> None:
        """Go on with another configuration, every life in memory too."""
        self._config = config
        for channel in self._lives.values():
            channel.follow(config.batch, self._cleanup_after_s(channel.name), config.cleanup.idle_cleanup_s)
            if channel.watchdog is not None:
                channel.watchdog.follow(config.watchdog)

    def restore(self, record: LifeRecord, now: float) -> Channel:
        """Return a life a journal knows, in memory again and its channel's present one."""
        channel = self._open(record.channel, record.epoch, "", now)
        self._recall(channel, record, now)
        return channel

    def taking(self, name: str, *, starts: bool) -> Channel | None:
        """Return the present life of a channel if an event goes to it; None when `open` is due.

        Args:
            name: `kind/id`.
            starts: whether the event begins a new life after the end of another.
        """
        channel = self._current.get(name)
        return None if channel is None or channel.cut or (starts and channel.terminal_accepted) else channel

    @property
    def full(self) -> bool:
        """Whether `open` must not be called: `max_channels` are in memory."""
        return len(self._lives) >= self._config.limits.max_channels

    def opened_by(self, opener: str) -> int:
        """Return how many of the lives in memory a producer has opened since the worker started."""
        return self._opened[opener]

    def open(self, name: str, opener: str, now: float, *, starts: bool) -> Channel:
        """Return the life that an event goes to which `taking` has none for; it is the present one now.

        Args:
            name: `kind/id`.
            opener: whose event it is; empty for a foreign producer's without a key.
            now: monotonic seconds.
            starts: whether the event begins a new life after the end of another.
        """
        before = self._current.get(name) or self._past.get(name)
        epoch = max(self._wall_ms(now), self.deleted_epoch + 1)
        if isinstance(before, LifeRecord) and not (before.cut or (starts and before.ended)):
            channel = self._open(name, before.epoch, opener, now)
            self._recall(channel, before, now)
            channel.keep_from(now)
            return channel
        if before is not None:
            epoch = max(epoch, before.epoch + 1)
        return self._open(name, epoch, opener, now)

    def _open(self, name: str, epoch: int, opener: str, now: float) -> Channel:
        config = self._config
        channel = Channel(
            name,
            epoch,
            config.batch,
            self._cleanup_after_s(name),
            config.cleanup.idle_cleanup_s,
            now,
            self._wall_ms(now),
            ScanState(config.state.max_hosts, config.state.max_entries, self._budget),
            Watchdog(config.watchdog, now) if name.startswith("scan/") else None,
        )
        if opener:
            channel.opened_by = opener
            self._opened[opener] += 1
        self._past.pop(name, None)
        self._current[name] = channel
        self._lives[name, epoch] = channel
        return channel

    def _cleanup_after_s(self, name: str) -> float:
        cleanup = self._config.cleanup
        return cleanup.report_cleanup_after_s if name.startswith("report/") else cleanup.cleanup_after_s

    def _recall(self, channel: Channel, record: LifeRecord, now: float) -> None:
        channel.restore(record, self._catalogue, now, self._wall_ms(now))
        if channel.wants_detail:
            self._wanted.append(channel)

    def take_wanted(self) -> list[Channel]:
        """Return the channels in memory to be given, by `Channel.supply`, what the journal keeps of them.

        To be done before anything of them is committed.
        """
        wanted, self._wanted = self._wanted, []
        return [channel for channel in wanted if self.holds(channel)]

    def revive(self, record: LifeRecord, now: float) -> Channel:
        """Return a life as a journal has it, to look at; it takes no part in anything."""
        channel = Channel(
            record.channel,
            record.epoch,
            self._config.batch,
            0.0,
            0.0,
            now,
            state=ScanState(UNBOUNDED, UNBOUNDED),
        )
        channel.restore(record, self._catalogue, now, self._wall_ms(now), to_look_at=True)
        return channel

    def retire(self, channel: Channel) -> None:
        """Take a life out of memory; of the present one its end is kept in mind."""
        del self._lives[channel.name, channel.epoch]
        channel.state.hosts.release()
        if channel.opened_by:
            self._opened[channel.opened_by] -= 1
            if not self._opened[channel.opened_by]:
                del self._opened[channel.opened_by]
        if self._current.get(channel.name) is not channel:
            return
        self.remember(
            LifeRecord(
                channel.name,
                channel.epoch,
                channel.head_seq,
                self._wall_ms(channel.terminal_at) if channel.terminal_at is not None else None,
                self._wall_ms(channel.last_event_at),
                channel.snapshot(),
                cut=channel.cut,
                detail=None,
            )
        )

    def is_over(self, record: LifeRecord, now: float) -> bool:
        """Say whether a life a journal knows needs no memory: its cleanup is due, and its state whole."""
        if record.detail is not None:
            return False
        cleanup_s = (
            self._cleanup_after_s(record.channel) if record.ended else self._config.cleanup.idle_cleanup_s
        )
        last_ms = record.ended_ms if record.ended_ms is not None else record.updated_ms
        return self._wall_ms(now) - last_ms >= cleanup_s * 1000

    def remember(self, record: LifeRecord) -> None:
        """Keep the end of a channel's present life in mind, whose memory is freed."""
        self._current.pop(record.channel, None)
        self._past.pop(record.channel, None)
        self._past[record.channel] = record
        if len(self._past) > self._config.limits.max_past_channels:
            self._past.popitem(last=False)
            self._counters["past_channels_forgotten"] += 1

    def forget(self, name: str, epoch: int) -> None:
        """Take notice that a life whose memory was freed is nowhere any more."""
        past = self._past.get(name)
        if past is not None and past.epoch == epoch:
            del self._past[name]

    def delete(self, name: str, epoch: int) -> None:
        """Take notice that a life is deleted, whether or not it is in memory."""
        channel = self._lives.get((name, epoch))
        if channel is not None:
            self.retire(channel)
        self.forget(name, epoch)
        self.deleted_epoch = max(self.deleted_epoch, epoch)

    def _wall_ms(self, now: float) -> int:
        return self._boot_ms + int((now - self._boot_now) * 1000)

    # --- look -------------------------------------------------------------------------------------

    def is_present(self, channel: Channel) -> bool:
        """Say whether a life is its channel's present one."""
        return self._current.get(channel.name) is channel

    def holds(self, channel: Channel) -> bool:
        """Say whether a life is in memory still."""
        return self._lives.get((channel.name, channel.epoch)) is channel

    def current(self, name: str) -> Channel | None:
        """Return the present life of a channel."""
        return self._current.get(name)

    def life(self, name: str, epoch: int) -> Channel | None:
        """Return one life of a channel, while its memory is kept."""
        return self._lives.get((name, epoch))

    def past(self, name: str) -> LifeRecord | None:
        """Return the end of a channel whose memory was freed, while it is kept in mind."""
        return self._past.get(name)

    def present(self) -> list[Channel]:
        """Return the present life of every channel."""
        return list(self._current.values())
