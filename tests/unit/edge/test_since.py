"""Where a reader wants to go on from, and whether that is held."""

from __future__ import annotations

import pytest

from pipeline.edge.since import Since, read_since, resume_at
from pipeline.frame import Position
from pipeline.wire import HeadReply


@pytest.mark.parametrize(
    ("text", "since"), [(None, None), ("start", "start"), ("7:3", Position(7, 3)), ("0:0", Position(0, 0))]
)
def test_what_is_read(text: str | None, since: Since) -> None:
    assert read_since(text) == since


@pytest.mark.parametrize("text", ["", "x", "7", "7:", ":3", "7:-1", "7:3:1", "START", "7: 3"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        read_since(text)


@pytest.mark.parametrize(("seq", "start"), [(3, None), (4, (7, 5)), (9, (7, 10)), (10, (7, 11)), (11, None)])
def test_a_position_that_is_held(seq: int, start: tuple[int, int] | None) -> None:
    head = HeadReply(1, "scan/a", 8, 2, 1, asked_seq=10, asked_held=5)
    assert resume_at(Position(7, seq), head) == start
    assert resume_at(Position(7, seq), HeadReply(1, "scan/a", 8, 2, 1)) is None
    assert resume_at(None, head) is None
