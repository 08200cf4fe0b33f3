"""How a process is, as it tells it."""

from __future__ import annotations

from pipeline.vitals import SPAN_S, Vitals
from pipeline.wire import StatsReply


def delay(vitals: Vitals, now: float) -> float:
    return vitals.reply(1, "edge-0", {}, now).delay_s


def test_it_tells_who_it_is_and_since_when_it_runs() -> None:
    vitals = Vitals(4711, "1.2", 100.0)
    assert vitals.reply(7, "shard-1", {"events": 3.0}, 102.5) == StatsReply(
        7, "shard-1", {"events": 3.0}, 4711, "1.2", 2.5, 0.0
    )


def test_the_longest_wait_is_told_for_one_to_two_spans() -> None:
    vitals = Vitals(1, "1", 0.0)
    vitals.worked(1.0, 1.3)
    vitals.worked(1.3, 1.4)
    assert delay(vitals, 1.5) == 0.3
    vitals.worked(SPAN_S, SPAN_S + 0.1)
    assert delay(vitals, SPAN_S + 0.2) == 0.3
    vitals.worked(2 * SPAN_S + 0.1, 2 * SPAN_S + 0.3)
    assert delay(vitals, 2 * SPAN_S + 0.4) == 0.2


def test_what_was_long_ago_is_not_told() -> None:
    vitals = Vitals(1, "1", 0.0)
    vitals.worked(1.0, 3.0)
    assert delay(vitals, 4 * SPAN_S) == 0.0


def test_a_timer_that_comes_early_is_no_delay() -> None:
    vitals = Vitals(1, "1", 0.0)
    vitals.worked(1.001, 1.0)
    assert delay(vitals, 1.0) == 0.0
