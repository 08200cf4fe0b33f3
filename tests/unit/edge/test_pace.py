"""The pace of a browser: when it falls, when it rises, and that its ticks are everybody's."""

from __future__ import annotations

from pipeline.edge.pace import PACES, Pace, paces_at, tick


def test_a_browser_that_keeps_up_is_at_full_pace() -> None:
    pace = Pace()
    for now in range(10):
        pace.keeps_up(float(now))
        assert (pace.per_s, pace.full) == (10, True)


def test_it_falls_a_step_each_time_something_is_due_and_the_last_write_still_waits() -> None:
    pace = Pace()
    seen = []
    for now in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 5.0, 50.0):
        pace.behind(now)
        seen.append(pace.per_s)
    assert seen == [10, 5, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_two_frames_in_a_moment_are_no_reason() -> None:
    pace = Pace()
    pace.behind(1.0)
    pace.behind(1.04)
    assert pace.full
    pace.keeps_up(1.05)
    pace.behind(1.06)
    pace.behind(1.10)
    assert pace.full, "what waited before is forgotten"
    pace.behind(1.11)
    assert not pace.full


def test_it_rises_a_step_after_three_calm_seconds_and_the_next_after_three_more() -> None:
    pace = Pace()
    for now in (0.0, 0.1, 0.2, 0.5):
        pace.behind(now)
    assert pace.per_s == 1
    seen = []
    for now in (1.0, 3.4, 3.5, 6.4, 6.5, 9.4, 9.5, 100.0):
        pace.keeps_up(now)
        seen.append((now, pace.per_s))
    assert seen == [(1.0, 1), (3.4, 1), (3.5, 2), (6.4, 2), (6.5, 5), (9.4, 5), (9.5, 10), (100.0, 10)]


def test_one_backlog_puts_off_the_rise() -> None:
    pace = Pace()
    pace.behind(0.0)
    pace.behind(0.1)
    pace.keeps_up(3.0)
    pace.behind(3.05)
    pace.keeps_up(3.15)
    assert pace.per_s == 5
    pace.keeps_up(6.06)
    assert pace.full


def test_ticks_are_common_and_each_lower_pace_has_its_own() -> None:
    assert [tick(5, now) for now in (0.0, 0.19, 0.2, 0.21, 0.4)] == [0, 0, 1, 1, 2]
    assert tick(10, 0.3 - 1e-9) == 3, "a timer that is a little early"
    at = {number: paces_at(number) for number in range(11)}
    assert at[0] == at[10] == (5, 2, 1)
    assert at[1] == ()
    assert at[2] == at[4] == (5,)
    assert at[5] == (2,)
    for per_s in PACES[1:]:
        assert sum(per_s in at[number] for number in range(10)) == per_s
