"""Leaving in waves: all within the window, a few at once."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.draining import LEAST_PER_S, TICK_S, told_by


def test_a_few_leave_at_once() -> None:
    assert told_by(0.0, 0, 2.0) == 0
    assert told_by(0.0, 10, 2.0) == 10


def test_many_are_spread_over_the_window() -> None:
    told = [told_by(step * TICK_S, 10_000, 2.0) for step in range(40)]
    assert told[:3] == [250, 500, 750]
    assert told[-1] == 10_000
    assert {later - earlier for earlier, later in itertools.pairwise(told)} == {250}


def test_without_a_window_all_leave_at_once() -> None:
    assert told_by(0.0, 10_000, 0.0) == 10_000


@given(st.integers(0, 100_000), st.floats(0, 100), st.lists(st.floats(0, 120), max_size=20))
def test_it_only_grows_and_is_done_in_time(total: int, window_s: float, times: list[float]) -> None:
    told = [told_by(elapsed_s, total, window_s) for elapsed_s in sorted(times)]
    assert told == sorted(told)
    assert all(0 <= count <= total for count in told)
    assert told_by(window_s, total, window_s) == total
    assert told_by(total / LEAST_PER_S, total, window_s) == total
