"""The ingest stage's configuration: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.sections import LIVE_LOG_KEYS, IngestMetricsSection, LogSection, PlaceSection


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


LIVE_KEYS = LIVE_LOG_KEYS | {
    "ingest.drain_messages",
    "limits.max_producers",
    "limits.max_rejections_logged_per_s",
}
"""What an ingest that runs takes over when it reads its configuration anew."""


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an ingest process can be told."""

    pipeline: PlaceSection = PlaceSection()
    ingest: IngestSection = IngestSection()
    limits: LimitsSection = LimitsSection()
    metrics: IngestMetricsSection = IngestMetricsSection()
    log: LogSection = LogSection()
