"""Which lives of a journal a reader looks for, and how they are listed. Pure.

Used by `shard`, which answers `PastRequest`s with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.throttle_batch.records import LifeState
from pipeline.wire import Mark, PastLife, PastRequest, TotalsEntry


@dataclass(frozen=True, slots=True)
class PastRow:
    """One life as it stands in a journal.

    Attributes:
        channel: `kind/id`.
        epoch: the life.
        mark: its place in the order.
        head: its last event.
        held: its oldest event that is there; `head + 1` when none is.
        ended_ms: wall clock of its terminal event; None while it has none.
        size_bytes: what it takes.
        state: its last checkpoint; None where that is damaged.
    """

    channel: str
    epoch: int
    mark: Mark
    head: int
    held: int
    ended_ms: int | None
    size_bytes: int
    state: LifeState | None


class Wanted:
    """What one request looks for.

    Args:
        request: the request.
    """

    def __init__(self, request: PastRequest) -> None:
        self._words = request.search.casefold().split()
        self._targets = None if request.targets is None else frozenset(request.targets)

    def includes(self, channel: str, state: LifeState) -> bool:
        """Say whether a life is one of those looked for; reports are in no list."""
        if not channel.startswith("scan/"):
            return False
        about = state.about
        if self._targets is not None and (
            about.targets_left_out or frozenset(about.targets) != self._targets
        ):
            return False
        if not self._words:
            return True
        # A word is looked for in each by itself: no match begins in one and ends in the next.
        parts = [channel.removeprefix("scan/"), about.name, *about.targets]
        parts += [f"{name}={value}" if value else name for name, value in about.labels.items()]
        text = "\n".join(parts).casefold()
        return all(word in text for word in self._words)


def past_life(row: PastRow, state: LifeState, *, present: bool) -> PastLife:
    """Return what lists show of a life.

    Args:
        row: how it stands in the journal.
        state: its state; the row's, or a later one that is not written yet.
        present: whether it is its channel's latest.
    """
    totals, about = state.totals, state.about
    return PastLife(
        channel=row.channel,
        epoch=row.epoch,
        mark=row.mark,
        present=present,
        status=state.status,
        error=state.error or None,
        started_ms=state.created_ms,
        ended_ms=row.ended_ms,
        last_event_ms=row.mark[0],
        events=row.head,
        held_events=row.head - row.held + 1,
        size_bytes=row.size_bytes,
        totals=TotalsEntry(
            totals.hosts, totals.open_ports, totals.services, totals.vulnerabilities, totals.exact
        ),
        name=about.name,
        targets=about.targets,
        targets_left_out=about.targets_left_out,
        labels=about.labels,
        owner=about.owner,
        shared_with=about.shared_with,
    )
