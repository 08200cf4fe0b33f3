"""Frames and positions: what a channel's log looks like from outside.

A channel's log is its accepted events, numbered seq = 1, 2, 3 … within an epoch. A frame is a view of
it: one contiguous range, with what was left out of it counted. Sits between the worker's core, which cuts
frames, and every reader. Knows no bytes on the wire; `wire` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a channel's log: `seq` within `epoch`. Compare the pair, never the number alone.

    `epoch` names one life of the channel; a later life has a greater one. seq 0 stands before the first
    event.
    """

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `epoch:seq`.

        Raises:
            ValueError: it is not two whole numbers, 0 to 2**53, joined by a colon.
        """
        epoch, colon, seq = text.partition(":")
        if not (colon and _is_count(epoch) and _is_count(seq)):
            raise ValueError(f"{text[:40]!r} is no position: epoch:seq, two whole numbers")
        return cls(int(epoch), int(seq))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= 2**53


@dataclass(frozen=True, slots=True)
class Frame:
    """The events `first` to `last` of a channel, as they reach a reader.

    The ledger: `len(events) + merged == last - first + 1`.

    Attributes:
        channel: `kind/id`, for example `scan/demo`.
        epoch: which life of the channel.
        first: seq of the first event of the range, merged or not.
        last: seq of the last one.
        events: the JSON of each event that survived, as its producer sent it.
        merged: how many state events a later one of the same key replaced.
        at: each surviving event's offset from `first`; empty when nothing was merged.
        critical: holds an event of class critical.
        terminal: holds the event that ends the channel.
        taken_us: when its oldest event was taken, microseconds of the machine's monotonic clock; 0: not told.
        state: (index into `events`, merge key) of each state event, so that a reader may merge further.
    """

    channel: str
    epoch: int
    first: int
    last: int
    events: tuple[bytes, ...]
    merged: int = 0
    at: tuple[int, ...] = ()
    critical: bool = False
    terminal: bool = False
    state: tuple[tuple[int, str], ...] = field(default=())
    taken_us: int = field(default=0, compare=False)
