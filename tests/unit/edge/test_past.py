"""Past scans of several shards as one list: in order, each once, wherever a page or a search ends."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.past import (
    Part,
    mark_of,
    merged,
    past_entry,
    read_after,
    read_epoch,
    read_flag,
    read_reference,
    read_search,
)
from pipeline.wire import Mark, PastLife
from tests.unit.wire.test_past import LIFE


def shard_page(marks: list[Mark], after: Mark | None, looked_at: int) -> tuple[list[PastLife], Mark | None]:
    """Answer as a shard does that looks at so many lives."""
    left = [mark for mark in sorted(marks, reverse=True) if after is None or mark < after]
    page = left[:looked_at]
    lives = [msgspec.structs.replace(LIFE, mark=mark) for mark in page]
    return lives, page[-1] if len(left) > looked_at else None


@given(
    shards=st.lists(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), unique_by=lambda mark: mark[1], max_size=9),
        min_size=1,
        max_size=4,
    ),
    limit=st.integers(1, 5),
    looked_at=st.lists(st.integers(1, 6), min_size=4, max_size=4),
)
def test_every_life_is_told_once_and_in_order(
    shards: list[list[Mark]], limit: int, looked_at: list[int]
) -> None:
    told: list[tuple[int, int, int]] = []
    following: str | None = None
    for _ in range(200):
        parts = []
        for shard, marks in enumerate(shards):
            lives, following_mark = shard_page(marks, mark_of(shard, read_after(following)), looked_at[shard])
            named = [msgspec.structs.replace(life, epoch=shard) for life in lives]
            parts.append(Part(shard, named, following_mark))
        page, following = merged(parts, limit)
        assert len(page) <= limit
        told += [(life.mark[0], life.epoch, life.mark[1]) for life in page]
        if following is None:
            break
    wanted = [(mark[0], shard, mark[1]) for shard, marks in enumerate(shards) for mark in marks]
    assert told == sorted(wanted, reverse=True)


def test_an_entry_has_what_lists_show() -> None:
    entry = past_entry(LIFE)
    assert (entry["scan_id"], entry["kind"], entry["labels"]) == ("a", "scan", {"site": "Berlin"})
    assert (entry["started_at"], entry["ended_at"]) == ("1970-01-01T00:00:00.001Z", None)
    assert entry["elapsed_time"] == 8.999


@pytest.mark.parametrize(
    "text", ["", "1", "1-2", "1-2-3-4", "a-1-1", "1-1-9999999999999999", "-1-1-1", "\uff11-1-1"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="after="):
        read_after(text)


def test_what_a_question_may_say() -> None:
    assert read_search(None) == ""
    assert (read_flag("past", "true"), read_flag("past", None)) == (True, False)
    assert (read_epoch("7"), read_epoch(None)) == (7, None)
    assert read_reference("with", "a@7") == ("a", 7)
    assert read_reference("with", "a") == ("a", None)
    assert read_reference("with", None) is None
    for wrong in ("@7", "a@", "a@b", "a b", "stats"):
        with pytest.raises(ValueError, match="with="):
            read_reference("with", wrong)
    for wrong in ("", "-1", "1.5", "x", "9" * 16):
        with pytest.raises(ValueError, match="epoch="):
            read_epoch(wrong)
    with pytest.raises(ValueError, match="past="):
        read_flag("past", "yes")
    with pytest.raises(ValueError, match="search: 201 characters"):
        read_search("x" * 201)
