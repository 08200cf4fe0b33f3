"""When a token bucket has a token, to exact times."""

from __future__ import annotations

import types

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pipeline.token_bucket
from pipeline.token_bucket import TokenBucket


def check_capacity_one_spaces_tokens(token_bucket: types.ModuleType) -> None:
    """Of the module, or of one that was broken on purpose."""
    bucket = token_bucket.TokenBucket(8.0)  # eighths are exact in binary
    taken = [step for step in range(4_097) if bucket.take(step / 1_024)]
    assert taken == list(range(0, 4_097, 128))


def test_capacity_one_spaces_tokens() -> None:
    check_capacity_one_spaces_tokens(pipeline.token_bucket)


def test_a_burst_is_the_capacity_then_the_rate() -> None:
    bucket = TokenBucket(20.0, 20.0)
    assert [bucket.take(5.0) for _ in range(21)] == [True] * 20 + [False]
    assert bucket.available_at(5.0) == pytest.approx(5.05, abs=1e-5)
    assert [bucket.take(5.5) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(99.0) for _ in range(21)] == [True] * 20 + [False], "never more than the capacity"


def test_asking_takes_nothing() -> None:
    bucket = TokenBucket(10.0)
    assert [bucket.available_at(1.0) for _ in range(5)] == [1.0] * 5
    assert bucket.take(1.0)
    assert [bucket.available_at(1.05) for _ in range(5)] == [1.1] * 5
    assert not bucket.take(1.05)
    assert bucket.take(1.1)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(10.0)
    assert bucket.take(5.0)
    assert not bucket.take(4.0)
    assert bucket.available_at(4.0) == 5.1


@given(
    start=st.floats(0, 1e9),
    rate=st.floats(0.1, 1000),
    waits=st.lists(st.floats(0, 3), max_size=30),
)
@example(start=3_000_000.137, rate=10.0, waits=[0.037])
@settings(max_examples=200, deadline=None)
def test_a_token_is_there_when_it_was_promised(start: float, rate: float, waits: list[float]) -> None:
    """However far the clock has come: a deadline at which there is nothing to do would come again at once."""
    bucket = TokenBucket(rate)
    now = start
    for wait in waits:
        promised = bucket.available_at(now + wait)
        assert promised >= now + wait
        assert bucket.take(promised)
        now = promised


@given(
    rate=st.sampled_from([1.0, 3.0, 10.0, 20.0]),
    capacity=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 0.5), max_size=200),
)
@settings(max_examples=100, deadline=None)
def test_no_window_holds_more_than_the_capacity_and_what_came_in_it(
    rate: float, capacity: int, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate, float(capacity))
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
    for index, first in enumerate(taken):
        for count, last in enumerate(taken[index:], start=1):
            assert count <= capacity + (last - first) * rate + 1e-3


def test_what_costs_more_than_there_is_is_taken_whole_and_paid_for_after() -> None:
    bucket = TokenBucket(8.0, 4.0)
    assert bucket.take(0.0, 20.0), "there is a token: sixteen are owed now"
    assert bucket.available_at(0.0) == pytest.approx(17 / 8, abs=1e-5)
    assert not bucket.take(2.0)
    assert bucket.take(2.126, 1.0)
    assert not bucket.take(2.127, 1.0)


@given(
    rate=st.sampled_from([1.0, 3.0, 10.0, 20.0]),
    capacity=st.integers(1, 20),
    asked=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), max_size=100),
)
@settings(max_examples=100, deadline=None)
def test_no_window_holds_more_than_the_capacity_the_rate_and_one_message(
    rate: float, capacity: int, asked: list[tuple[float, int]]
) -> None:
    bucket = TokenBucket(rate, float(capacity))
    now, taken = 0.0, []
    for gap, count in asked:
        now += gap
        if bucket.take(now, count):
            taken.append((now, count))
    for index, (first, _) in enumerate(taken):
        total = 0
        for last, count in taken[index:]:
            assert total <= capacity + (last - first) * rate + 1e-3, "before the one that went over it"
            total += count
