"""What a connection has cost and been given: as its reader knows it, and as REST tells it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.wire import ConnectionSummary, ReadersSummary


@dataclass(frozen=True, slots=True)
class Figures:
    """What one reader has cost and been given so far.

    Attributes:
        channel: what it watches, `kind/id`; empty for the statistics, and for several together.
        wire: what it speaks.
        messages: messages sent to it.
        bytes_sent: their bytes, framing included.
        duration_s: for how long it has been connected.
        skipped: events it was not given, and told so.
        lag: events published that are not given to it yet.
        pace: frames a second it is given at most.
    """

    channel: str
    wire: str
    messages: int
    bytes_sent: int
    duration_s: float
    skipped: int
    lag: int
    pace: int


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


class Sums:
    """Connections added up, one after the other."""

    def __init__(self) -> None:
        self._wires: Counter[str] = Counter()
        self._paces: Counter[int] = Counter()
        self._messages = self._bytes = self._skipped = self._lag = 0

    def add(self, figures: Sequence[Figures]) -> None:
        """Add a connection; one of which nothing is known yet counts for nothing.

        Args:
            figures: as for `summary`.
        """
        if not figures:
            return
        first = figures[0]
        self._wires[first.wire] += 1
        self._paces[min(each.pace for each in figures)] += 1
        self._messages += first.messages
        self._bytes += first.bytes_sent
        self._skipped += sum(each.skipped for each in figures)
        self._lag = max(self._lag, sum(each.lag for each in figures))

    def told(self) -> ReadersSummary:
        """Return what was added up."""
        return ReadersSummary(
            dict(self._wires), dict(self._paces), self._messages, self._bytes, self._lag, self._skipped
        )
