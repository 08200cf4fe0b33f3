"""When a process that died is started again, as timelines of exact times and as properties."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.up.backoff import Backoff


def pauses(backoff: Backoff, runs_s: list[float], begin: float = 100.0) -> list[float]:
    """Let a process run for each of `runs_s` seconds; return the pause after each death."""
    now = begin
    found = []
    for run_s in runs_s:
        backoff.started(now)
        now += run_s
        start_at = backoff.died(now)
        found.append(start_at - now)
        now = start_at
    return found


@pytest.mark.parametrize(
    ("runs_s", "expected"),
    [
        pytest.param([0.0], [0], id="the first time at once"),
        pytest.param([0.0, 0.0], [0, 0.25], id="then after the first pause"),
        pytest.param([0.0] * 7, [0, 0.25, 0.5, 1, 2, 3, 3], id="doubling up to the longest pause"),
        pytest.param([0.0, 0.0, 0.0, 8.0], [0, 0.25, 0.5, 0], id="after a steady run at once"),
        pytest.param([0.0, 0.0, 8.0, 0.0], [0, 0.25, 0, 0.25], id="a steady run begins anew"),
        pytest.param([0.0, 0.0, 7.875, 0.0], [0, 0.25, 0.5, 1], id="a run just short of steady does not"),
        pytest.param([8.0, 8.0, 8.0], [0, 0, 0], id="steady runs are never made to wait"),
    ],
)
def test_timeline(runs_s: list[float], expected: list[float]) -> None:
    assert pauses(Backoff(first_pause_s=0.25, max_pause_s=3, steady_s=8), runs_s) == expected


def test_the_longest_pause_holds_for_the_first_one_too() -> None:
    assert pauses(Backoff(first_pause_s=5, max_pause_s=2, steady_s=10), [0, 0, 0]) == [0, 2, 2]


@given(
    runs_s=st.lists(st.floats(0, 20), max_size=40),
    first_pause_s=st.floats(0.01, 60),
    max_pause_s=st.floats(0.01, 600),
)
def test_pauses_are_bounded_and_grow_until_a_steady_run(
    runs_s: list[float], first_pause_s: float, max_pause_s: float
) -> None:
    backoff = Backoff(first_pause_s=first_pause_s, max_pause_s=max_pause_s, steady_s=10)
    found = []
    for run_s in runs_s:
        backoff.started(0.0)
        found.append(backoff.died(run_s) - run_s)
    assert all(0 <= pause <= max_pause_s + 1e-9 for pause in found)
    for (before, pause), run_s in zip(itertools.pairwise(found), runs_s[1:], strict=True):
        assert pause == 0 if run_s >= 10 else pause >= before - 1e-9
