from __future__ import annotations

import pytest

from pipeline.throttle_batch.event_rate import SMOOTHED_OVER_S, EventRate


def fed(per_wakeup: int, wakeups: int, every_s: float = 0.1) -> tuple[EventRate, float]:
    rate = EventRate()
    for number in range(wakeups):
        rate.add(per_wakeup, number * every_s)
    return rate, (wakeups - 1) * every_s


def test_nothing_comes() -> None:
    assert EventRate().per_s(100.0) == 0.0


@pytest.mark.parametrize("seconds", [2, 10, 60])
def test_a_steady_rate_is_told_from_the_first_seconds_on(seconds: int) -> None:
    rate, now = fed(25, seconds * 10)
    assert rate.per_s(now) == pytest.approx(250, rel=0.06)


def test_what_comes_at_once_is_not_taken_for_a_stream() -> None:
    rate = EventRate()
    rate.add(100, 5.0)
    assert rate.per_s(5.0) == pytest.approx(110, rel=0.01), "as if it had come within a second"


def test_it_falls_when_nothing_comes() -> None:
    rate, now = fed(25, 600)
    assert rate.per_s(now + SMOOTHED_OVER_S) == pytest.approx(250 / 2.718, rel=0.05)
    assert rate.per_s(now + 100) < 0.001


def test_asking_changes_nothing() -> None:
    rate, now = fed(25, 100)
    assert [rate.per_s(now + 1)] * 3 == [rate.per_s(now + 1) for _ in range(3)]
