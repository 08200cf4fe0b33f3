"""Where the channels of a tail begin, and whose turn it is to ask."""

from __future__ import annotations

import pytest

from pipeline.cursor import PageTaken
from pipeline.following import Following, Start
from pipeline.frame import Position
from pipeline.wire import PageHeader

A, B, C = "scan/a", "scan/b", "scan/c"
BEGAN_MS = 1_000
OLD, NEW = 999, 1_000
"""The epochs of a life that was there when the tail began, and of one that was not."""


def page(channel: str, epoch: int, first: int, last: int) -> PageHeader:
    return PageHeader(1, channel, epoch, first, last, last, held=True, current=epoch)


@pytest.mark.parametrize(
    ("start", "epoch", "due", "asked"),
    [
        pytest.param("live", OLD, 7, None, id="live: what was before the first frame is not shown"),
        pytest.param("live", NEW, None, 1, id="live: a life that began later is shown from its first event"),
        pytest.param("start", OLD, None, 1, id="from the start: from its first event"),
        pytest.param("start", NEW, None, 1, id="from the start: the same"),
    ],
)
def test_a_channel_first_heard_of_by_a_frame(
    start: Start, epoch: int, due: int | None, asked: int | None
) -> None:
    following = Following(start, BEGAN_MS)
    assert following.frame(A, epoch, 7, 9) == due
    assert following.behind == (asked is not None)
    assert following.next_fetch() == (None if asked is None else (A, Position(epoch, asked)))


@pytest.mark.parametrize(
    ("start", "epoch", "asked"), [("live", OLD, None), ("live", NEW, 1), ("start", OLD, 1), ("start", NEW, 1)]
)
def test_a_channel_first_heard_of_by_a_beacon(start: Start, epoch: int, asked: int | None) -> None:
    following = Following(start, BEGAN_MS)
    following.learn(A, epoch, 9)
    assert following.next_fetch() == (None if asked is None else (A, Position(epoch, asked)))
    if asked is None:
        assert following.frame(A, epoch, 10, 12) == 10


def test_a_position_is_asked_for_before_anything_is_heard() -> None:
    following = Following(Position(OLD, 6), BEGAN_MS, frozenset({A}))
    assert following.next_fetch() == (A, Position(OLD, 7))
    assert following.next_fetch() is None
    assert following.frame(A, OLD, 7, 9) is None
    assert following.page(page(A, OLD, 7, 8)) == PageTaken(7)
    assert following.next_fetch() == (A, Position(OLD, 9))


def test_a_beacon_names_others_too_which_are_not_followed() -> None:
    following = Following("start", BEGAN_MS, frozenset({A}))
    following.learn(B, OLD, 9)
    assert not following.behind
    following.learn(A, OLD, 9)
    assert following.next_fetch() == (A, Position(OLD, 1))


def test_those_behind_take_turns() -> None:
    following = Following("start", BEGAN_MS)
    for channel in (A, B, C):
        following.learn(channel, OLD, 9)
    assert [following.next_fetch(), following.next_fetch()] == [(A, Position(OLD, 1)), (B, Position(OLD, 1))]
    following.learn(A, OLD, 12)
    following.page(PageHeader(1, B, OLD, 1, 5, 9, held=True, current=OLD))
    assert [following.next_fetch(), following.next_fetch()] == [(C, Position(OLD, 1)), (B, Position(OLD, 6))]
    assert not following.behind, "the others wait for their pages"


def test_the_channel_quiet_for_longest_is_forgotten_and_begins_anew() -> None:
    following = Following("live", BEGAN_MS, max_channels=2)
    following.frame(A, OLD, 1, 1)
    following.frame(B, OLD, 1, 1)
    following.frame(A, OLD, 2, 2)
    following.learn(B, OLD, 5)
    following.frame(C, OLD, 1, 1)
    assert following.frame(A, OLD, 8, 9) == 8, "it begins anew"
    assert following.frame(C, OLD, 2, 2) == 2
    assert following.page(page(B, OLD, 2, 5)) == PageTaken(), "an answer to one forgotten since"
    assert not following.behind


def test_a_channel_goes_on_where_it_was_and_others_begin_as_told() -> None:
    following = Following("live", BEGAN_MS)
    following.resume(A, Position(OLD, 6), ask=True)
    following.resume(B, Position(OLD, 6), ask=False)
    assert following.next_fetch() == (A, Position(OLD, 7))
    assert following.next_fetch() is None
    following.learn(B, NEW, 2)
    assert following.next_fetch() == (B, Position(OLD, 7))
    following.learn(C, OLD, 4)
    assert following.position(C) == Position(OLD, 4)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    following = Following("live", BEGAN_MS)
    following.resume(A, Position(OLD, 6), ask=True)
    following.forget(A)
    following.forget(B)
    assert following.next_fetch() is None
    assert following.position(A) is None
    following.learn(A, OLD, 9)
    assert following.position(A) == Position(OLD, 9)
