"""One connection as `/api/connections` tells of it. Shell: it adds up what the watchers know."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.edge.reader import Figures
from pipeline.wire import ConnectionSummary


def summary(
    connection_id: str, edge: int, address: str, figures: Sequence[Figures], wall_ms: int
) -> list[ConnectionSummary]:
    """Return the summary of a connection, in a list; an empty one if nothing is known of it yet.

    Args:
        connection_id: its id.
        edge: the index of its edge.
        address: where it comes from.
        figures: of each channel it reads, and of none; they share its socket, and each has the sums of that.
        wall_ms: the wall clock.
    """
    if not figures:
        return []
    first = figures[0]
    return [
        ConnectionSummary(
            id=connection_id,
            edge=edge,
            wire=first.wire,
            channels=[each.channel for each in figures if each.channel],
            address=address,
            opened_ms=wall_ms - round(first.duration_s * 1000),
            duration_s=first.duration_s,
            messages=first.messages,
            bytes=first.bytes_sent,
            lag_events=sum(each.lag for each in figures),
            frames_per_s=min(each.pace for each in figures),
            skipped=sum(each.skipped for each in figures),
        )
    ]
