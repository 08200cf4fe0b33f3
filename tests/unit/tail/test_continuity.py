"""Which events were missed, as a table of frames and as a property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tail.continuity import Continuity

A, B = "scan/a", "scan/b"
Frame = tuple[str, int, int, int]


@pytest.mark.parametrize(
    ("frames", "missed"),
    [
        pytest.param([(A, 1, 7, 9)], [[]], id="nothing was promised before the first frame"),
        pytest.param([(A, 1, 7, 9), (A, 1, 10, 10)], [[], []], id="what follows on is no gap"),
        pytest.param([(A, 1, 1, 2), (A, 1, 5, 6)], [[], [3, 4]], id="what is left out is a gap"),
        pytest.param([(A, 1, 1, 2), (B, 1, 5, 6), (A, 1, 3, 3)], [[], [], []], id="each channel by itself"),
        pytest.param([(A, 1, 1, 9), (A, 2, 1, 2)], [[], []], id="another life begins at 1"),
        pytest.param([(A, 1, 1, 9), (A, 2, 3, 4)], [[], [1, 2]], id="another life's beginning can be missed"),
        pytest.param([(A, 1, 1, 9), (A, 1, 4, 9), (A, 1, 10, 11)], [[], [], []], id="seen again is no gap"),
        pytest.param(
            [(A, 1, 1, 9), (A, 1, 4, 5), (A, 1, 10, 11)], [[], [], []], id="seen again, and less of it"
        ),
    ],
)
def test_missed(frames: list[Frame], missed: list[list[int]]) -> None:
    continuity = Continuity()
    assert [list(continuity.take(*frame)[1]) for frame in frames] == missed
    assert continuity.missed == sum(map(len, missed))
    assert continuity.gaps == sum(map(bool, missed))


def test_what_is_new_in_a_frame_that_repeats() -> None:
    continuity = Continuity()
    assert continuity.take(A, 1, 1, 9)[0] == 1
    assert continuity.take(A, 1, 4, 12)[0] == 10
    assert continuity.take(A, 1, 4, 12)[0] == 13
    assert continuity.take(A, 2, 1, 3)[0] == 1


def test_the_channel_quiet_for_longest_is_forgotten() -> None:
    continuity = Continuity(max_channels=2)
    continuity.take(A, 1, 1, 1)
    continuity.take(B, 1, 1, 1)
    continuity.take(A, 1, 2, 2)
    continuity.take("scan/c", 1, 1, 1)
    assert not continuity.take(B, 1, 5, 5)[1]
    assert list(continuity.take("scan/c", 1, 3, 3)[1]) == [2]


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=30))
def test_every_number_is_given_or_missed_exactly_once(cuts: list[tuple[int, bool]]) -> None:
    """Frames of these lengths, of which some do not come."""
    continuity = Continuity()
    continuity.take(A, 1, 1, 1)
    accounted = [1]
    last = 1
    reached = 1
    for length, comes in cuts:
        first, last = last + 1, last + length
        if comes:
            new_from, missed = continuity.take(A, 1, first, last)
            accounted += [*missed, *range(new_from, last + 1)]
            reached = last
    assert accounted == list(range(1, reached + 1))
