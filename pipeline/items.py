"""What a `Subscriber` gives: a scan's events and what is told besides, as objects. Pure.

Composed by `subscription.py` of the edge's messages; `Disconnected` is its own, the rest the edge says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.frame import Position


@dataclass(frozen=True, slots=True)
class Joined:
    """Connected.

    Attributes:
        epoch: the scan's present life; None: it does not exist yet, and its events come when it starts.
        head: the last event published of that life; 0 when there is none.
        resumed: whether it goes on after the position given; None when none was.
    """

    epoch: int | None
    head: int
    resumed: bool | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Events `first` to `last` of a life.

    The ledger: `len(events) + merged + filtered == last - first + 1`.

    Attributes:
        epoch: which life.
        first: number of the first event of the range, whether it is here or not.
        last: number of the last one.
        events: the events that are here, decoded, in order.
        offsets: of each, its number less `first`.
        merged: progress events left out, because a later one of the same phase is here.
        filtered: events left out because they were not asked for.
    """

    epoch: int
    first: int
    last: int
    events: tuple[dict[str, object], ...]
    offsets: tuple[int, ...]
    merged: int
    filtered: int

    def numbered(self) -> Iterator[tuple[Position, dict[str, object]]]:
        """Give each event with its position."""
        for offset, event in zip(self.offsets, self.events, strict=True):
            yield Position(self.epoch, self.first + offset), event


@dataclass(frozen=True, slots=True)
class Lag:
    """Events that are not given, but for batches within the range that may still come.

    Attributes:
        first: number of the first one.
        last: number of the last one.
        skipped: how many of these are not given.
        reason: why, a word of the edge's.
    """

    first: int
    last: int
    skipped: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget everything: what follows is of another life, or begins anew.

    Attributes:
        epoch: the life that follows; None when nothing is known of the scan.
        reason: `restarted`, `forgotten`, or `not_held`: the position given is not held any more.
    """

    epoch: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The scan as it stood after the event `seq`: it replaces everything before.

    Attributes:
        epoch: which life.
        seq: number of the last event that is in it.
        state: the state, as the edge composes it.
    """

    epoch: int
    seq: int
    state: dict[str, object]


@dataclass(frozen=True, slots=True)
class Degraded:
    """The scan's worker is silent, or (`degraded` false) there again; nothing is to be done.

    Attributes:
        degraded: whether it is silent.
        reason: a word of the edge's.
    """

    degraded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, and is tried again by itself.

    Attributes:
        reason: why, in words.
        retry_s: in how many seconds.
    """

    reason: str
    retry_s: float


Item: TypeAlias = Joined | Batch | Lag | Reset | Snapshot | Degraded | Disconnected


@dataclass(frozen=True, slots=True)
class Ended:
    """Why nothing more comes: the server does not want this reader back.

    Attributes:
        code: the close code.
        reason: why, in words.
    """

    code: int
    reason: str
