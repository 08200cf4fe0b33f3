"""The ingest stage's configuration: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.sections import LIVE_LOG_KEYS, CurveSection, IngestMetricsSection, LogSection, PlaceSection


class IngestSection(msgspec.Struct, frozen=True, kw_only=True):
    """One ingest among several."""

    index: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=999,
            description="Which ingest this is; its sockets are ingest-INDEX.data and ingest-INDEX.control.",
        ),
    ] = 0
    receive_high_water_mark: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Messages queued of each producer; beyond it that producer's PUSH blocks.",
            extra={"unit": "messages"},
        ),
    ] = 1_000
    shard_high_water_mark: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Messages queued for a shard that does not keep up; beyond it messages for it are "
            "dropped and counted: numbered producers send again, foreign ones lose them.",
            extra={"unit": "messages"},
        ),
    ] = 10_000
    drain_messages: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Messages taken from a socket in one wake-up.",
            extra={"unit": "messages"},
        ),
    ] = 1_000


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one ingest process."""

    max_producers: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Numbered producers an ingest passes acks on to; beyond it the one that said hello "
            "longest ago gets none until it says hello again.",
            extra={"unit": "producers"},
        ),
    ] = 10_000
    max_rejections_logged_per_s: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000,
            description="Rejected events that are logged, one line each; the others are counted, and their "
            "number stands in the next line.",
            extra={"unit": "lines/s"},
        ),
    ] = 10


class QuotasSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one producer may send to this ingest. A producer is its key; without keys its id, which it chooses
    itself; all foreign producers together are one.
    """

    events_per_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=100_000_000,
            description="Events a second. Beyond it numbered producers are held back and send again later; "
            "what foreign ones send is rejected as `rate`. 0: no limit.",
            extra={"unit": "events/s"},
        ),
    ] = 0.0
    bytes_per_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=100_000_000_000,
            description="Bytes of messages a second; the same beyond it. 0: no limit.",
            extra={"unit": "bytes/s"},
        ),
    ] = 0.0
    burst_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.01,
            le=3_600,
            description="How many seconds' worth of both may come at once, by one that was quiet.",
            extra={"unit": "s"},
        ),
    ] = 2.0
    max_open_scans: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=1_000_000,
            description="Scans of a producer that are open at a time: from their first event to their end, a "
            "`bye`, or silent_s. Beyond it a new scan is refused as `quota`. Without keys each run of emit "
            "is a producer. 0: no limit.",
            extra={"unit": "scans"},
        ),
    ] = 0
    new_scans_per_hour: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=10_000_000,
            description="Scans begun in an hour, and at once; beyond it a new scan is refused as `quota`. "
            "0: no limit.",
            extra={"unit": "scans/h"},
        ),
    ] = 0
    silent_s: Annotated[
        float,
        msgspec.Meta(
            ge=10,
            le=604_800,
            description="A scan of which neither an event nor a sign of life came for so long is open no "
            "more.",
            extra={"unit": "s"},
        ),
    ] = 300.0


LIVE_KEYS = (
    LIVE_LOG_KEYS
    | {f"quotas.{key}" for key in QuotasSection.__struct_fields__}
    | {
        "ingest.drain_messages",
        "limits.max_producers",
        "limits.max_rejections_logged_per_s",
    }
)
"""What an ingest that runs takes over when it reads its configuration anew."""


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an ingest process can be told."""

    pipeline: PlaceSection = PlaceSection()
    curve: CurveSection = CurveSection()
    ingest: IngestSection = IngestSection()
    limits: LimitsSection = LimitsSection()
    quotas: QuotasSection = QuotasSection()
    metrics: IngestMetricsSection = IngestMetricsSection()
    log: LogSection = LogSection()
