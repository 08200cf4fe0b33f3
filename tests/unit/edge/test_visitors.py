"""Connections by address: how many, and how fast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge import visitors
from pipeline.edge.visitors import Rate, Visitors

NEW = float("-inf")


def test_a_burst_is_free_and_then_the_rate_counts() -> None:
    rate = Rate(per_s=2.0, burst=3)
    state = NEW
    for _ in range(3):
        state, wait_s = rate.take(state, 100.0)
        assert wait_s == 0
    assert rate.take(state, 100.0) == (state, pytest.approx(0.5))
    assert rate.take(state, 100.3) == (state, pytest.approx(0.2))
    state, wait_s = rate.take(state, 100.5)
    assert wait_s == 0
    assert rate.take(state, 100.5)[1] == pytest.approx(0.5)


def test_several_are_taken_together_or_not_at_all() -> None:
    rate = Rate(per_s=1.0, burst=10)
    state, wait_s = rate.take(NEW, 0.0, 8)
    assert wait_s == 0
    assert rate.take(state, 0.0, 3) == (state, pytest.approx(1.0))
    assert rate.take(state, 1.0, 3)[1] == 0
    assert rate.take(NEW, 0.0, 11)[1] > 0


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=60),
    st.floats(0.5, 50),
    st.integers(1, 20),
)
def test_never_more_than_the_rate_and_a_burst(
    asks: list[tuple[float, int]], per_s: float, burst: int
) -> None:
    rate, state, now, taken = Rate(per_s, burst), NEW, 0.0, 0
    for pause, count in asks:
        now += pause
        after, wait_s = rate.take(state, now, count)
        if wait_s == 0:
            taken += count
        else:
            assert after == state
            assert count > burst or rate.take(state, now + wait_s + 1e-6, count)[1] == 0
        state = after
        assert taken <= burst + per_s * now + 1e-3


def test_an_address_has_so_many_connections_and_another_as_many() -> None:
    found = Visitors(2, Rate(100, 100))
    assert [found.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert found.enter("10.0.0.2")
    found.leave("10.0.0.1")
    assert found.enter("10.0.0.1")
    assert not found.enter("10.0.0.1")


def test_one_that_asks_too_fast_is_told_when_to_come_back_and_costs_the_others_nothing() -> None:
    found = Visitors(100, Rate(per_s=10, burst=2))
    assert [found.knock("a", 5.0) for _ in range(3)] == [0, 0, pytest.approx(0.1)]
    assert found.knock("b", 5.0) == 0
    assert found.knock("a", 5.1) == 0


def test_addresses_are_forgotten_once_they_have_their_burst_again() -> None:
    found = Visitors(100, Rate(per_s=10, burst=2))
    for number in range(1_000):
        found.knock(f"10.0.{number // 250}.{number % 250}", number * 1.0)
    assert found.addresses <= 2


def test_no_more_addresses_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "MAX_NAMES", 10)
    found = Visitors(100, Rate(per_s=10, burst=2))
    for number in range(50):
        found.knock(str(number), 0.0)
    assert found.addresses == 10


def test_who_has_left_is_forgotten() -> None:
    found = Visitors(100, Rate(per_s=10, burst=2))
    found.enter("a")
    assert found.addresses == 1
    found.leave("a")
    assert found.addresses == 0
