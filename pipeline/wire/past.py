"""What a worker tells of the lives its journal holds beyond those in memory, and how one is deleted. Pure.

Under `reading`, which has the other questions and answers. The lives of a shard have an order, the latest
first: by the wall clock of their last event, then by the number of their row. A `Mark` is a place in it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from pipeline.wire.state import TotalsEntry

MAX_PAST_A_PAGE = 200
"""The most lives in one answer."""
MAX_SEARCH_LENGTH = 200
"""The longest search, in characters."""

Mark: TypeAlias = tuple[int, int]
"""(wall clock of a life's last event in epoch milliseconds, number of its row)."""


class PastRequest(msgspec.Struct, frozen=True, tag="past"):
    """Asks for lives that are in the journal and no longer in memory, the latest first.

    Attributes:
        search: words, all of which stand in the id, the name, a target or a label; empty for all.
        targets: only lives with just these targets, in any order; None for any.
        channel: only lives of this channel; None for any.
        before: only lives after this mark; None to begin with the latest.
        limit: the most given.
    """

    id: int
    search: str = ""
    targets: tuple[str, ...] | None = None
    channel: str | None = None
    before: Mark | None = None
    limit: int = MAX_PAST_A_PAGE


class PastLife(msgspec.Struct, frozen=True, kw_only=True):
    """One life in a journal.

    Attributes:
        channel: `kind/id`.
        epoch: the life.
        mark: its place in the order.
        present: it is its channel's latest: what is asked for without an epoch.
        status: as in a `ChannelSummary`; of a life that never ended, its last one.
        error: the message of the terminal `error`; None without one.
        started_ms: wall clock at the first event, epoch milliseconds.
        ended_ms: wall clock at the terminal event; None when there is none.
        last_event_ms: wall clock at the last event.
        events: how many there were.
        held_events: how many the journal still holds.
        size_bytes: what it takes in the journal, its state too.
        totals: how much was found.
        name, targets, targets_left_out, labels, owner, shared_with: what `scanStarted` says.
    """

    channel: str
    epoch: int
    mark: Mark
    present: bool
    status: str
    error: str | None
    started_ms: int
    ended_ms: int | None
    last_event_ms: int
    events: int
    held_events: int
    size_bytes: int
    totals: TotalsEntry
    name: str
    targets: tuple[str, ...]
    targets_left_out: int
    labels: dict[str, str]
    owner: str
    shared_with: tuple[str, ...] = ()


class PastReply(msgspec.Struct, frozen=True, tag="past"):
    """Some lives of a shard.

    Attributes:
        next: what to go on from; None when there are no more. A search that has looked at many lives ends
            there, whatever it has found.
    """

    id: int
    shard: int
    lives: list[PastLife]
    next: Mark | None = None


class DeleteRequest(msgspec.Struct, frozen=True, tag="delete"):
    """Asks to delete a channel's lives that have ended: all, or the one that `epoch` names."""

    id: int
    channel: str
    epoch: int | None = None


class DeleteReply(msgspec.Struct, frozen=True, tag="delete"):
    """What became of it.

    Attributes:
        epochs: the lives that are deleted, for good when this is sent.
        problem: why nothing is; empty when something was. `unknown`: there is no such life. `running`: it
            has not ended. `journal`: the journal cannot be written now.
    """

    id: int
    channel: str
    epochs: list[int]
    problem: str = ""
