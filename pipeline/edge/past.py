"""Past scans as REST tells them: entries of a list over all shards, and where a list goes on. Pure.

Each shard gives its lives in an order of its own, the latest first; the list has them in one: by the wall
clock of the last event, then by shard, then by row. A place in it is told as `ms-shard-row`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from pipeline.edge.statistics import iso
from pipeline.event import is_scan_id
from pipeline.wire import MAX_SEARCH_LENGTH, Mark, PastLife, split_channel

MAX_PAST = 1_000
"""The most entries of one answer."""

Place: TypeAlias = tuple[int, int, int]
"""(wall clock of the last event in epoch milliseconds, shard, row): descending in a list."""

_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,4})-([0-9]{1,15})")
_LAST_ROW = 1 << 62
_EPOCH = re.compile(r"[0-9]{1,15}")


def read_after(text: str | None) -> Place | None:
    """Read where a list goes on, as `next` of an answer told it.

    Raises:
        ValueError: it is nothing of the kind.
    """
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"after={text[:40]!r}: what an answer gave as `next` is needed")
    return int(match[1]), int(match[2]), int(match[3])


def read_search(text: str | None) -> str:
    """Read what is searched for.

    Raises:
        ValueError: it is longer than `MAX_SEARCH_LENGTH`.
    """
    if text is not None and len(text) > MAX_SEARCH_LENGTH:
        raise ValueError(f"search: {len(text)} characters, at most {MAX_SEARCH_LENGTH} are allowed")
    return text or ""


def read_epoch(text: str | None, name: str = "epoch") -> int | None:
    """Read which life of a scan is meant; None for its present one.

    Raises:
        ValueError: it is no epoch.
    """
    if text is None:
        return None
    if _EPOCH.fullmatch(text) is None:
        raise ValueError(f"{name}={text[:40]!r}: a whole number is needed, as `epoch` in an answer")
    return int(text)


def read_reference(name: str, text: str | None) -> tuple[str, int | None] | None:
    """Read which scan is meant: `ID`, or `ID@EPOCH` for one life of it.

    Raises:
        ValueError: it is neither.
    """
    if text is None:
        return None
    scan_id, at, epoch = text.partition("@")
    if not is_scan_id(scan_id):
        raise ValueError(f"{name}={text[:40]!r}: a scan id is needed, or ID@EPOCH")
    return scan_id, read_epoch(epoch, name) if at else None


def read_flag(name: str, text: str | None) -> bool:
    """Read `true` or `false`; False when it is not there.

    Raises:
        ValueError: it is neither.
    """
    if text not in (None, "true", "false"):
        raise ValueError(f"{name}={text[:40]!r}: true or false is needed")
    return text == "true"


def mark_of(shard: int, after: Place | None) -> Mark | None:
    """Return where a shard goes on, for the list to go on after a place."""
    if after is None:
        return None
    updated_ms, last_shard, row = after
    if shard == last_shard:
        return updated_ms, row
    return updated_ms, _LAST_ROW if shard < last_shard else 0


@dataclass(slots=True)
class Part:
    """What one shard has told.

    Attributes:
        shard: which.
        lives: the latest after a place.
        next: where it goes on; None when these are all.
    """

    shard: int
    lives: list[PastLife] = field(default_factory=list)
    next: Mark | None = None

    def place(self, mark: Mark) -> Place:
        """Return a mark of this shard's as a place in the list."""
        return mark[0], self.shard, mark[1]


def merged(parts: list[Part], limit: int) -> tuple[list[PastLife], str | None]:
    """Return the lives of all shards in the order of the list.

    A shard that has not told all it has may hold lives between those of others: the list ends before them.

    Returns:
        (at most `limit` lives, where the list goes on; None when these are all).
    """
    floor = max((part.place(part.next) for part in parts if part.next is not None), default=None)
    found = sorted(
        ((part.place(life.mark), life) for part in parts for life in part.lives),
        key=lambda each: each[0],
        reverse=True,
    )
    lives = [life for place, life in found if floor is None or place >= floor]
    if len(lives) > limit:
        return lives[:limit], _told(found[limit - 1][0])
    return lives, _told(floor) if floor is not None else None


def place_of(life: PastLife, shard: int) -> str:
    """Return the place of a life in the list, for the list to go on after it."""
    return _told((life.mark[0], shard, life.mark[1]))


def _told(place: Place) -> str:
    return "-".join(map(str, place))


def past_entry(life: PastLife) -> dict[str, object]:
    """Return one past scan as lists show it."""
    kind, scan_id = split_channel(life.channel)
    ended_ms = life.ended_ms if life.ended_ms is not None else life.last_event_ms
    return {
        "scan_id": scan_id,
        "kind": kind,
        "epoch": life.epoch,
        "present": life.present,
        "status": life.status,
        "error": life.error,
        "name": life.name,
        "targets": list(life.targets),
        "targets_left_out": life.targets_left_out,
        "labels": life.labels,
        "owner": life.owner,
        "started_at": iso(life.started_ms),
        "ended_at": iso(life.ended_ms) if life.ended_ms is not None else None,
        "last_event_at": iso(life.last_event_ms),
        "elapsed_time": max(0, ended_ms - life.started_ms) / 1000,
        "event_count": life.events,
        "held_events": life.held_events,
        "size_bytes": life.size_bytes,
        "totals": msgspec.to_builtins(life.totals),
    }
