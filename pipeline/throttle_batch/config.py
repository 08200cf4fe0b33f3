"""The throttle-batch stage's configuration: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pipeline.event import CatalogueEntry, EventClass
from pipeline.sections import LIVE_LOG_KEYS, CurveSection, LogSection, PlaceSection, WorkerMetricsSection
from pipeline.throttle_batch.sections import StateSection, WatchdogSection


class WorkerPlaceSection(PlaceSection, frozen=True, kw_only=True):
    """Where a worker meets the others, and where it keeps what it must not forget."""

    data_dir: Annotated[
        str,
        msgspec.Meta(
            description="Directory of what outlives a run (journals, the number of shards). Empty: "
            "$XDG_STATE_HOME/scanstream, else ~/.local/state/scanstream."
        ),
    ] = ""
    own: Annotated[
        list[int],
        msgspec.Meta(description="The shards this process owns, 0 to shards - 1. Empty: all of them."),
    ] = msgspec.field(default_factory=list)


class BatchSection(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel's events become frames."""

    max_frames_per_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=1000,
            description="The frame budget of a channel: a token bucket of capacity 1. Critical events pass "
            "it by; facts wait in a batch, none is dropped.",
            extra={"unit": "frames/s"},
        ),
    ] = 10.0
    batch_interval_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.001,
            le=60,
            description="How long a batch waits, from its first event.",
            extra={"unit": "s"},
        ),
    ] = 0.1
    max_batch_events: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="A batch of so many events goes early, if the budget allows.",
            extra={"unit": "events"},
        ),
    ] = 50
    max_frame_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=65_536,
            le=4_194_304,
            description="The most event bytes in one frame; the rest waits for the next. Times "
            "max_frames_per_s it is the most a scan lets out. With the default a browser's message is less "
            "than 1 MiB, the most that some clients take.",
            extra={"unit": "bytes"},
        ),
    ] = 786_432
    max_pending_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=65_536,
            le=67_108_864,
            description="The most event bytes a channel holds that are in no frame yet. Beyond it, numbered "
            "events are not accepted (their producer keeps them and sends again), foreign ones are dropped, "
            "counted, and told by a `lost` event.",
            extra={"unit": "bytes"},
        ),
    ] = 3_145_728
    max_critical_frames_per_s: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=1000,
            description="Beyond so many critical frames of a channel, critical events are gathered for at "
            "most critical_gather_s.",
            extra={"unit": "frames/s"},
        ),
    ] = 20.0
    critical_gather_s: Annotated[
        float,
        msgspec.Meta(
            ge=0, le=1, description="The longest a critical event may be gathered.", extra={"unit": "s"}
        ),
    ] = 0.02


class CleanupSection(msgspec.Struct, frozen=True, kw_only=True):
    """When a channel's memory is freed."""

    cleanup_after_s: Annotated[
        float,
        msgspec.Meta(ge=0, le=604_800, description="After a scan's terminal event.", extra={"unit": "s"}),
    ] = 300.0
    report_cleanup_after_s: Annotated[
        float,
        msgspec.Meta(ge=0, le=604_800, description="After a report's terminal event.", extra={"unit": "s"}),
    ] = 60.0
    idle_cleanup_s: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=31_536_000,
            description="After the last event of a channel that never ends.",
            extra={"unit": "s"},
        ),
    ] = 86_400.0


class JournalSection(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives the process, and what late and returning readers can still be given."""

    kind: Annotated[
        Literal["sqlite", "memory"],
        msgspec.Meta(
            description="sqlite: every accepted event is on disk before it is acked, one file a shard in the "
            "data directory. memory: nothing outlives the process."
        ),
    ] = "sqlite"
    fsync: Annotated[
        bool,
        msgspec.Meta(
            description="Wait for the disk at every commit, so that a loss of power loses nothing acked. "
            "Without it a crash of the process loses nothing, a loss of power the last moments."
        ),
    ] = False
    max_channel_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=65_536,
            le=17_179_869_184,
            description="The most event bytes kept of one channel; beyond it its oldest events go. In "
            "memory, 16 MiB at most.",
            extra={"unit": "bytes"},
        ),
    ] = 1_073_741_824
    max_channel_events: Annotated[
        int,
        msgspec.Meta(
            ge=1_000,
            le=10_000_000_000,
            description="The most events kept of one channel.",
            extra={"unit": "events"},
        ),
    ] = 10_000_000
    max_total_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=1_048_576,
            le=1_099_511_627_776,
            description="The most event bytes kept of all channels of a shard; beyond it the oldest events "
            "of the channel that holds most go. In memory, 256 MiB at most.",
            extra={"unit": "bytes"},
        ),
    ] = 8_589_934_592
    max_lives: Annotated[
        int,
        msgspec.Meta(
            ge=100,
            le=100_000_000,
            description="The most lives of channels kept on disk of a shard; beyond it those whose last "
            "event is oldest go, whole.",
            extra={"unit": "lives"},
        ),
    ] = 1_000_000
    retention_age_s: Annotated[
        float,
        msgspec.Meta(
            ge=60,
            le=315_360_000,
            description="How long a channel is kept after its last event.",
            extra={"unit": "s"},
        ),
    ] = 604_800.0
    min_free_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=1_099_511_627_776,
            description="Less free disk than this, and nothing is committed, so nothing is acked; history is "
            "still served, and trimming goes on.",
            extra={"unit": "bytes"},
        ),
    ] = 67_108_864


class PublishSection(msgspec.Struct, frozen=True, kw_only=True):
    """How frames and beacons leave."""

    high_water_mark: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Frames queued for one subscriber; beyond it that subscriber misses frames, sees "
            "the gap, and asks for them.",
            extra={"unit": "frames"},
        ),
    ] = 200
    beacon_interval_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.01, le=10, description="How often each shard says how far it is.", extra={"unit": "s"}
        ),
    ] = 0.3


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one worker process."""

    max_channels: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000_000,
            description="Channels a shard keeps in memory; events of a further one are dropped and counted "
            "until cleanup makes room.",
            extra={"unit": "channels"},
        ),
    ] = 100_000
    max_channels_per_producer: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000_000,
            description="Channels in a shard's memory that one producer has opened; its events for a further "
            "one are rejected as `quota`.",
            extra={"unit": "channels"},
        ),
    ] = 10_000
    max_past_channels: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000_000,
            description="Channels whose memory was freed of which a shard keeps the end in mind; beyond it "
            "the one freed longest ago is forgotten, and a later event begins a new life.",
            extra={"unit": "channels"},
        ),
    ] = 100_000
    max_producers: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000_000,
            description="(producer, channel) pairs a shard keeps ack state for; beyond it the one unheard "
            "longest is forgotten.",
            extra={"unit": "pairs"},
        ),
    ] = 200_000
    drain_messages: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Messages taken from a socket in one wake-up.",
            extra={"unit": "messages"},
        ),
    ] = 1_000


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one event type is treated; replaces the catalogue's default for that type."""

    class_: Annotated[Literal["critical", "fact", "state"], msgspec.Meta(description="")] = msgspec.field(
        name="class"
    )
    key: str = ""
    terminal: bool = False


LIVE_KEYS = (
    LIVE_LOG_KEYS
    | {f"batch.{key}" for key in BatchSection.__struct_fields__}
    | {f"cleanup.{key}" for key in CleanupSection.__struct_fields__}
    | {f"watchdog.{key}" for key in WatchdogSection.__struct_fields__}
    | {f"limits.{key}" for key in LimitsSection.__struct_fields__}
    | {f"journal.{key}" for key in JournalSection.__struct_fields__ if key not in {"kind", "fsync"}}
)
"""What a worker that runs takes over when it reads its configuration anew."""


class ThrottleBatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a throttle-batch process can be told."""

    pipeline: WorkerPlaceSection = WorkerPlaceSection()
    curve: CurveSection = CurveSection()
    batch: BatchSection = BatchSection()
    cleanup: CleanupSection = CleanupSection()
    journal: JournalSection = JournalSection()
    publish: PublishSection = PublishSection()
    limits: LimitsSection = LimitsSection()
    state: StateSection = StateSection()
    watchdog: WatchdogSection = WatchdogSection()
    metrics: WorkerMetricsSection = WorkerMetricsSection()
    log: LogSection = LogSection()
    events: Annotated[
        dict[str, EventRule],
        msgspec.Meta(
            description="Event types treated otherwise than by default: class critical, fact or state; key: "
            "the field whose latest value survives in a frame (state only); terminal: it ends its channel "
            "(critical only).",
            extra={"example": 'myProgress = {class = "state", key = "task"}'},
        ),
    ] = msgspec.field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return what is wrong between keys, one line each."""
        found = [
            f"[pipeline] own: shard {shard} is not within 0 to {self.pipeline.shards - 1}"
            for shard in self.pipeline.own
            if not 0 <= shard < self.pipeline.shards
        ]
        if self.batch.max_pending_bytes < self.batch.max_frame_bytes:
            found.append(
                f"[batch] max_pending_bytes = {self.batch.max_pending_bytes}: must be >= max_frame_bytes "
                f"({self.batch.max_frame_bytes})"
            )
        for name, rule in self.events.items():
            if rule.class_ == "state" and not rule.key:
                found.append(
                    f"[events] {name}: class state needs a key, the field that names what is replaced"
                )
            if rule.class_ != "state" and rule.key:
                found.append(f"[events] {name}: a key makes sense for class state only")
            if rule.class_ != "critical" and rule.terminal:
                found.append(f"[events] {name}: only a critical event can be terminal")
        return found

    def catalogue_overrides(self) -> dict[str, CatalogueEntry]:
        """Return the `[events]` table as the catalogue takes it."""
        return {
            name: CatalogueEntry(EventClass(rule.class_), rule.key or None, rule.terminal)
            for name, rule in self.events.items()
        }
