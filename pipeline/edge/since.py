"""Where a reader wants to go on from. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pipeline.frame import Position
from pipeline.wire import HeadReply

Since: TypeAlias = Position | Literal["start"] | None


def read_since(text: str | None) -> Since:
    """Read where a reader wants to go on from: `epoch:seq`, `start`, or nothing.

    Raises:
        ValueError: it is none of these.
    """
    if text is None:
        return None
    return "start" if text == "start" else Position.parse(text)


def resume_at(since: Position | None, head: HeadReply) -> tuple[int, int] | None:
    """Return (epoch, seq) of the event after a position a reader holds; None when that is not held any more.

    Args:
        since: the position.
        head: the answer to a question that named the position's epoch.
    """
    if since is None or head.asked_held is None or not head.asked_held - 1 <= since.seq <= head.asked_seq:
        return None
    return since.epoch, since.seq + 1
