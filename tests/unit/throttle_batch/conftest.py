"""What the tests of the core share: builders of events, and rigs that drive it as the stage does.

A check is a function that takes a `Core`, the core's modules, so that the same check runs against the
real ones and, in test_mutations, against ones that were broken on purpose.
"""

from __future__ import annotations

import importlib
import itertools
import pathlib
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import pytest

from pipeline.event import Catalogue, read_event
from pipeline.frame import Frame
from pipeline.throttle_batch.config import BatchSection, CleanupSection, LimitsSection, ThrottleBatchConfig
from pipeline.throttle_batch.records import (
    NOT_POSTED,
    LifeRecord,
    LifeState,
    Posted,
    ProducerRecord,
    Recovered,
)
from pipeline.throttle_batch.sections import StateSection, WatchdogSection
from pipeline.wire import Ack, Envelope, EnvelopeHeader, Nack, Reached, Retry

PACKAGE = "pipeline.throttle_batch"
ELSEWHERE = {"token_bucket": "pipeline.token_bucket"}
"""Modules of the core that others use, too."""
MODULES = (
    "token_bucket",
    "runs",
    "pending",
    "history",
    "progress",
    "hosts",
    "scan_state",
    "event_rate",
    "watchdog",
    "channel",
    "deadlines",
    "producers",
    "lives",
    "intake",
    "batcher",
)
CATALOGUE = Catalogue()
UNWATCHED = WatchdogSection(stalled_after_s=0, orphaned_after_s=0)
"""Nothing is added to what the tests send."""

TERMINAL = b'{"type":"scanCompleted"}'
START = b'{"type":"scanStarted"}'


def fact(number: int = 0, size: int = 0) -> bytes:
    """A fact of at least `size` bytes."""
    raw = b'{"type":"note","n":%d,"pad":"' % number
    return raw + b"." * (size - len(raw) - 2) + b'"}'


def critical(number: int = 0, size: int = 0) -> bytes:
    return fact(number, size).replace(b'"note"', b'"phaseStarted","phase":"p"', 1)


def state(key: str, number: int = 0, size: int = 0) -> bytes:
    kind = b'"scanProgress","phase":"%b","progress":%d' % (key.encode(), number % 100)
    return fact(number, size).replace(b'"note"', kind, 1)


FACTS = [fact(number) for number in range(200)]
EPOCH = 1_000_000
"""The rig's wall clock at time 0, in milliseconds: what a channel's epoch is made from."""


def foreign(*events: bytes, channel: str = "scan/a") -> Envelope:
    return Envelope(EnvelopeHeader(channel), list(events))


def numbered(
    first: int,
    *events: bytes,
    una: int = 1,
    pid: str = "p",
    inc: int = 1,
    channel: str = "scan/a",
    rejected: tuple[tuple[int, str], ...] = (),
    own: bool = False,
    sign: str = "",
    digest: str = "",
) -> Envelope:
    return Envelope(EnvelopeHeader(channel, pid, inc, first, una, rejected, own, sign, digest), list(events))


class Core:
    """The core's modules, and rigs made of them."""

    def __init__(self, modules: Mapping[str, types.ModuleType]) -> None:
        self.token_bucket = modules["token_bucket"]
        self.runs = modules["runs"]
        self.pending = modules["pending"]
        self.history = modules["history"]
        self.scan_state = modules["scan_state"]
        self._channel = modules["channel"]
        self.deadlines = modules["deadlines"]
        self.producers = modules["producers"]
        self.lives = modules["lives"]
        self._batcher = modules["batcher"]

    def read(self, events: Iterable[bytes]) -> list:
        """The runs of a message."""
        runs, rejected = self.runs.read_runs(list(events), CATALOGUE)
        assert not rejected
        return runs

    def channel(self, now: float = 0.0, **batch: float) -> ChannelRig:
        return ChannelRig(self, BatchSection(**batch), now)

    def batcher(
        self,
        now: float = 0.0,
        *,
        max_channels: int = 1000,
        max_producers: int = 1000,
        max_channels_per_producer: int = 1000,
        max_past_channels: int = 1000,
        cleanup: CleanupSection | None = None,
        state: StateSection | None = None,
        watchdog: WatchdogSection = UNWATCHED,
        **batch: float,
    ) -> BatcherRig:
        config = ThrottleBatchConfig(
            batch=BatchSection(**batch),  # the bounds of a file do not hold here: small ones test faster
            cleanup=cleanup or CleanupSection(),
            state=state or StateSection(),
            watchdog=watchdog,
            limits=LimitsSection(
                max_channels=max_channels,
                max_producers=max_producers,
                max_channels_per_producer=max_channels_per_producer,
                max_past_channels=max_past_channels,
            ),
        )
        return BatcherRig(self._batcher, config, now)


def _full_name(name: str) -> str:
    return ELSEWHERE.get(name, f"{PACKAGE}.{name}")


def load_core(edits: Mapping[str, Iterable[tuple[str, str]]] | None = None) -> Core:
    """Compile the core anew, with (old text, new text) replaced in the source of the modules named."""
    if not edits:
        return Core({name: importlib.import_module(_full_name(name)) for name in MODULES})
    loaded: dict[str, types.ModuleType] = {}
    real = {_full_name(name): importlib.import_module(_full_name(name)) for name in MODULES}
    try:
        for name in MODULES:
            full_name = _full_name(name)
            path = pathlib.Path(str(real[full_name].__file__))
            source = path.read_text()
            for old, new in edits.get(name, ()):
                assert source.count(old) == 1, f"{path.name} holds {source.count(old)} times: {old}"
                source = source.replace(old, new)
            module = types.ModuleType(full_name)
            sys.modules[full_name] = module  # so that the modules after it import this one
            exec(compile(source, f"mutated {path.name}", "exec"), module.__dict__)
            loaded[name] = module
    finally:
        sys.modules.update(real)
    return Core(loaded)


class ChannelRig:
    """One channel, driven to exact times. `frames` is every frame with the time at which it left."""

    def __init__(self, core: Core, batch: BatchSection, now: float = 0.0) -> None:
        self._core = core
        self.channel = core._channel.Channel("scan/a", 7, batch, 300.0, 86_400.0, now)
        self.sent: list[bytes] = []
        self.accepted_at: list[float] = []
        self.frames: list[tuple[float, Frame]] = []
        self._now = now

    def at(self, now: float, *events: bytes) -> None:
        """Let time pass to `now`, then accept and commit `events` in one wake-up."""
        self.until(now)
        for run in self._core.read(events):
            self.channel.accept(run, now)
        self.sent += events
        self.accepted_at += [now] * len(events)
        self._note(now, self.channel.handle_timeout(now))
        self._note(now, self.channel.committed(now))
        self._now = now

    def until(self, end: float) -> None:
        """Call `handle_timeout` at each deadline up to `end`, as long as there are any."""
        now = self._now
        while (deadline := self.channel.next_deadline(now)) is not None and deadline <= end:
            now = deadline
            self._note(now, self.channel.handle_timeout(now))
            assert (later := self.channel.next_deadline(now)) is None or later > now, "no progress"
        self._now = max(now, end)

    def _note(self, now: float, frames: list[Frame]) -> None:
        self.frames += [(now, frame) for frame in frames]

    @property
    def table(self) -> list[tuple[float, int, int, str]]:
        """Each frame as (time, first, last, what): `c` critical, `t` terminal, `mN` N merged."""
        return [(round(now, 6), frame.first, frame.last, what(frame)) for now, frame in self.frames]


def what(frame: Frame) -> str:
    merged = f"m{frame.merged}" if frame.merged else ""
    return "c" * frame.critical + "t" * frame.terminal + merged


class BatcherRig:
    """A batcher, driven as the stage drives it.

    Attributes:
        frames: every frame with the time at which it left.
        log: (channel, epoch) -> the events committed.
        durable: (pid, channel) -> (incarnation, the last number committed).
        kept: (channel, epoch) -> its last checkpoint.
        acks, retries, nacks: all feedback, in order.
    """

    def __init__(self, module: types.ModuleType, config: ThrottleBatchConfig, now: float) -> None:
        self._module, self._config = module, config
        self.batcher = module.Batcher(config, CATALOGUE, clock_ms(0.0), now)
        self.frames: list[tuple[float, Frame]] = []
        self.log: dict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.durable: dict[tuple[str, str], tuple[int, int]] = {}
        self.kept: dict[tuple[str, int], LifeState] = {}
        self.details: dict[tuple[str, int], bytes] = {}
        self._last_at: dict[tuple[str, int], float] = {}
        self._ended_at: dict[tuple[str, int], float] = {}
        self.acks: list[Ack] = []
        self.retries: list[Retry] = []
        self.nacks: list[Nack] = []
        self.reached: list[Reached] = []
        self.posted: dict[tuple[str, str], Posted] = {}
        self.wakeups = 0

    def at(self, now: float, *envelopes: Envelope) -> list[Frame]:
        """Let time pass to `now`, then have one wake-up that receives `envelopes`."""
        self.until(now)
        return self.wake(now, *envelopes)

    def wake(self, now: float, *envelopes: Envelope) -> list[Frame]:
        """Have one wake-up: what the stage does after each poll."""
        self.wakeups += 1
        for envelope in envelopes:
            self.batcher.receive(envelope, now)
        frames = list(self.batcher.handle_timeout(now))
        for channel in self.batcher.wanted():
            channel.supply(self.details.get((channel.name, channel.epoch), b""))
        commit = self.batcher.uncommitted()
        for chunk in commit.chunks:
            log = self.log[chunk.channel, chunk.epoch]
            assert chunk.first == len(log) + 1, "a chunk follows the one before"
            log += chunk.events
            place = (chunk.channel, chunk.epoch)
            self.kept.setdefault(place, LifeState(folded=0, created_ms=clock_ms(now)))
            self._last_at[place] = now
            if chunk.ends:
                self._ended_at[place] = now
        for checkpoint in commit.checkpoints:
            self.kept[checkpoint.channel, checkpoint.epoch] = checkpoint.state
            if checkpoint.detail is not None:
                self.details[checkpoint.channel, checkpoint.epoch] = checkpoint.detail
        for ack in commit.acks:
            before = self.durable.get((ack.pid, ack.channel), (0, -1))
            assert (ack.inc, ack.committed) > before, "only what got further is written"
            self.durable[ack.pid, ack.channel] = (ack.inc, ack.committed)
            self.posted[ack.pid, ack.channel] = commit.posted.get((ack.pid, ack.channel), NOT_POSTED)
        released = self.batcher.committed(now)
        feedback = released.feedback
        assert set(commit.acks) <= set(feedback.acks), "what was committed is acked"
        for ack in feedback.acks:
            durable = self.durable.get((ack.pid, ack.channel), (ack.inc, 0))
            assert (ack.inc, ack.committed) <= durable, "nothing is acked that is not durable"
        self.acks += feedback.acks
        self.retries += feedback.retries
        self.nacks += feedback.nacks
        self.reached += feedback.reached
        frames += released.frames
        self.frames += [(now, frame) for frame in frames]
        return frames

    def follow(self, now: float, **sections: msgspec.Struct) -> None:
        """Go on with other sections of the configuration."""
        self._config = msgspec.structs.replace(self._config, **sections)
        self.batcher.follow(self._config, now)

    def until(self, end: float) -> None:
        """Wake up at each deadline up to `end`."""
        while (deadline := self.batcher.next_deadline()) is not None and deadline <= end:
            self.wake(deadline)
            assert (later := self.batcher.next_deadline()) is None or later > deadline, "no progress"

    @property
    def table(self) -> list[tuple[float, int, int, str]]:
        """Each frame as (time, first, last, what): `c` critical, `t` terminal, `mN` N merged."""
        return [(round(now, 6), frame.first, frame.last, what(frame)) for now, frame in self.frames]

    def restart(self, now: float, *, cut: bool = False) -> None:
        """End as a kill does, and begin anew at `now` with what was committed; `cut`: and no more of it."""
        lives = [
            replace(self.record(place), cut=cut) for place in sorted(self.log, key=lambda place: place[1])
        ]
        producers = [ProducerRecord(*key, *known, self.posted[key]) for key, known in self.durable.items()]
        self.batcher = self._module.Batcher(self._config, CATALOGUE, clock_ms(now), now)
        self.batcher.restore(Recovered(lives, producers), now)

    def record(self, place: tuple[str, int]) -> LifeRecord:
        """What a journal has of a life."""
        log, kept = self.log[place], self.kept[place]
        return LifeRecord(
            *place,
            head=len(log),
            ended_ms=clock_ms(self._ended_at[place]) if place in self._ended_at else None,
            updated_ms=clock_ms(self._last_at[place]),
            state=kept,
            tail=log[kept.folded :],
            detail=self.details.get(place, b"") if kept.folded < len(log) else None,
        )

    def acked(self, pid: str = "p", channel: str = "scan/a") -> int:
        """The highest number acked."""
        return max(
            (ack.committed for ack in self.acks if (ack.pid, ack.channel) == (pid, channel)), default=0
        )


def taken(rig: BatcherRig, channel: str = "scan/a") -> list[bytes]:
    """The events taken so far, committed, of a channel with one life."""
    return rig.log[channel, rig.batcher.current(channel).epoch] if rig.batcher.current(channel) else []


def clock_ms(now: float) -> int:
    """The rig's wall clock."""
    return 1_000_000 + round(now * 1000)


def check_ledger(frames: Iterable[Frame], sent: list[bytes]) -> None:
    """Every event of `sent` is in a frame once, in its place, or merged into a later one of its key."""
    position = 0
    for frame in frames:
        assert frame.first == position + 1, "frames are contiguous"
        count = frame.last - frame.first + 1
        assert len(frame.events) + frame.merged == count, "the ledger"
        assert bool(frame.at) == (frame.merged > 0)
        at = frame.at or range(count)
        assert len(at) == len(frame.events)
        assert all(earlier < later for earlier, later in itertools.pairwise(at))
        span = sent[frame.first - 1 : frame.last]
        assert [span[offset] for offset in at] == list(frame.events), "as it was sent, at its place"
        kept = set(at)
        keys = [treatment(raw).key for raw in span]
        for offset, key in enumerate(keys):
            if key is None:
                assert offset in kept, "only state events are merged"
            else:
                assert (offset in kept) == (key not in keys[offset + 1 :]), "the latest of a key survives"
        assert frame.state == tuple(
            (index, keys[offset]) for index, offset in enumerate(at) if keys[offset] is not None
        )
        assert frame.critical == any(treatment(raw).event_class.value == "critical" for raw in span)
        assert frame.terminal == any(treatment(raw).terminal for raw in span)
        position = frame.last
    assert position == len(sent), "nothing is left behind"


def treatment(raw: bytes):
    return CATALOGUE.treatment(read_event(raw), raw)


def budgeted(frames: list[tuple[float, Frame]]) -> list[tuple[float, Frame]]:
    """The frames that are neither critical nor cut to make way for a critical one."""
    last_critical = {now: index for index, (now, frame) in enumerate(frames) if frame.critical}
    return [(now, frame) for index, (now, frame) in enumerate(frames) if index > last_critical.get(now, -1)]


@pytest.fixture(scope="session")
def core() -> Core:
    """The real core."""
    return load_core()


@pytest.fixture(scope="session")
def core_with():
    """Makes a core with edits in its source: see `load_core`."""
    return load_core
