"""What of throttle-batch's configuration is about a scan as a whole: its state, its watchdog. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec


class StateSection(msgspec.Struct, frozen=True, kw_only=True):
    """How much is remembered of what a scan found, for lists and late joiners."""

    max_hosts: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000_000,
            description="Hosts of a scan with all that was found on them; those beyond are counted, once "
            "each, and not shown.",
            extra={"unit": "hosts"},
        ),
    ] = 65_536
    max_entries: Annotated[
        int,
        msgspec.Meta(
            ge=1_000,
            le=100_000_000,
            description="Hosts, ports and vulnerabilities held of a scan, some 60 bytes each; beyond it the "
            "numbers are the least there are, and say so.",
            extra={"unit": "entries"},
        ),
    ] = 1_000_000
    max_total_entries: Annotated[
        int,
        msgspec.Meta(
            ge=1_000,
            le=1_000_000_000,
            description="The same, of all scans a shard has in memory together.",
            extra={"unit": "entries"},
        ),
    ] = 4_000_000


class WatchdogSection(msgspec.Struct, frozen=True, kw_only=True):
    """When a scan counts as stalled, as orphaned, and as failed for that."""

    stalled_after_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=604_800,
            description="Without an event for so long, at least, a scan is told to have stalled. 0: never.",
            extra={"unit": "s"},
        ),
    ] = 300.0
    stalled_factor: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=1_000,
            description="A scan that makes pauses has so many times its longest one.",
        ),
    ] = 4.0
    stalled_at_most_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=604_800,
            description="But no more than this, unless stalled_after_s is more.",
            extra={"unit": "s"},
        ),
    ] = 3_600.0
    orphaned_after_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=604_800,
            description="A scan whose producers give no sign of life for so long, and have not said bye, is "
            "told to be orphaned. They give one every 5 s. 0: never.",
            extra={"unit": "s"},
        ),
    ] = 60.0
    orphan_grace_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=604_800,
            description="So long after that, if nothing is heard of it, the scan is ended as failed.",
            extra={"unit": "s"},
        ),
    ] = 3_600.0
