from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.progress import (
    HIGHEST_UNFINISHED,
    MAX_PHASE_LENGTH,
    MAX_PHASES,
    Progress,
    ProgressRecord,
    TimeLeft,
)

# (at, phase, reported) ... -> (phase, shown, finalising, nonsense, per_phase)
TIMELINES = {
    "nothing yet": ([], (None, None, False, 0, False)),
    "a phase alone": ([(0, "p", None)], ("p", None, False, 0, False)),
    "a phase that begins at something": ([(0, "p", 20)], ("p", 20, False, 0, False)),
    "it goes on": ([(0, "p", 1), (1, "p", 40)], ("p", 40, False, 0, False)),
    "it goes back": ([(0, "p", 40), (1, "p", 39.9)], ("p", 40, False, 1, False)),
    "it stays": ([(0, "p", 40), (1, "p", 40)], ("p", 40, False, 0, False)),
    "-1": ([(0, "p", 40), (1, "p", -1)], ("p", 40, False, 1, False)),
    "101": ([(0, "p", 40), (1, "p", 101)], ("p", 40, False, 1, False)),
    "1e19": ([(0, "p", 40), (1, "p", 1e19)], ("p", 40, False, 1, False)),
    "2**64 - 1": ([(0, "p", 40), (1, "p", 18446744073709551615)], ("p", 40, False, 1, False)),
    "NaN": ([(0, "p", 40), (1, "p", math.nan)], ("p", 40, False, 1, False)),
    "infinity": ([(0, "p", 40), (1, "p", math.inf), (2, "p", -math.inf)], ("p", 40, False, 2, False)),
    "rubbish before anything honest": ([(0, "p", 1e19)], ("p", None, False, 1, False)),
    "it recovers from rubbish": ([(0, "p", 1e19), (1, "p", 3)], ("p", 3, False, 1, False)),
    "the work is done": ([(0, "p", 100)], ("p", 99.9, True, 0, False)),
    "nearly": ([(0, "p", 99.95)], ("p", 99.9, False, 0, False)),
    "done, and again": ([(0, "p", 100), (1, "p", 100)], ("p", 99.9, True, 0, False)),
    "done, and then not": ([(0, "p", 100), (1, "p", 40)], ("p", 99.9, True, 1, False)),
    "done, and another phase": ([(0, "p", 100), (1, "q", None)], ("q", 99.9, False, 0, False)),
    "a phase without a number keeps it": ([(0, "p", 40), (1, "q", None)], ("q", 40, False, 0, False)),
    "its first one replaces it": ([(0, "p", 40), (1, "q", None), (2, "q", 41)], ("q", 41, False, 0, False)),
    "phases that count by themselves": ([(0, "p", 90), (1, "q", 0)], ("q", 0, False, 0, True)),
    "even when told apart": ([(0, "p", 90), (1, "q", None), (2, "q", 3)], ("q", 3, False, 0, True)),
    "a little less in a new phase": ([(0, "p", 22), (1, "q", 20)], ("q", 20, False, 0, False)),
    "a phase that comes again": (
        [(0, "p", 40), (1, "q", 10), (2, "p", None)],
        ("p", 40, False, 0, True),
    ),
    "and goes back": ([(0, "p", 40), (1, "q", 10), (2, "p", 30)], ("p", 40, False, 1, True)),
    "a long name": ([(0, "x" * 900, 4), (1, "x" * 900, 3)], ("x" * MAX_PHASE_LENGTH, 4, False, 1, False)),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_what_is_reported_is_made_honest(name: str) -> None:
    reports, expected = TIMELINES[name]
    progress = Progress()
    for at_s, phase, percent in reports:
        progress.report(phase, percent, at_s)
    found = (progress.phase, progress.percent, progress.finalising, progress.nonsense, progress.per_phase)
    assert found == expected


def test_completed_is_100_for_good() -> None:
    progress = Progress()
    progress.report("p", 40, 0)
    progress.complete(1)
    assert (progress.percent, progress.finalising) == (100, False)
    progress.report("q", 3, 2)
    assert (progress.phase, progress.percent) == ("q", 100)


def test_failed_keeps_what_it_was() -> None:
    progress = Progress()
    progress.report("p", 100, 0)
    progress.fail(1)
    assert (progress.percent, progress.finalising) == (HIGHEST_UNFINISHED, False)


def test_the_history_of_phases() -> None:
    progress = Progress()
    for at_s, phase, percent in [(0, "a", 5), (2, "b", None), (5, "b", 30), (7, "a", None), (8, "c", 31)]:
        progress.report(phase, percent, at_s)
    progress.complete(9)
    found = [(phase.name, phase.started_s, phase.percent, phase.left_s) for phase in progress.phases.values()]
    assert found == [("a", 0, 5, 8), ("b", 2, 30, 7), ("c", 8, 31, 9)]


def test_phases_are_bounded() -> None:
    progress = Progress()
    for number in range(MAX_PHASES + 3):
        progress.report(f"p{number}", 1, number)
    assert len(progress.phases) == MAX_PHASES
    assert progress.left_out == 3
    assert progress.phase == f"p{MAX_PHASES + 2}"
    progress.report(f"p{MAX_PHASES + 2}", 0.5, 99)
    assert progress.nonsense == 1, "also of the one that is not kept"


NUMBERS = (
    st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100) | st.integers(-5, 105) | st.none()
)
REPORTS = st.lists(st.tuples(st.sampled_from(["p", "q", "r"]), NUMBERS), max_size=60)


@given(reports=REPORTS)
def test_whatever_is_reported_what_is_shown_is_honest(reports: list[tuple[str, float | None]]) -> None:
    progress = Progress()
    for at_s, (phase, percent) in enumerate(reports):
        progress.report(phase, percent, at_s)
        assert progress.percent is None or 0 <= progress.percent <= HIGHEST_UNFINISHED
        known = progress.phases[phase].percent
        assert known is None or progress.percent == min(known, HIGHEST_UNFINISHED)
        assert not progress.finalising or known == 100
        left = progress.time_left(float(at_s))
        assert left is None or 0 <= left.low <= left.seconds <= left.high
    progress.complete(99)
    assert progress.percent == 100


@given(percents=st.lists(NUMBERS, max_size=60))
def test_within_a_phase_it_never_goes_back(percents: list[float | None]) -> None:
    progress = Progress()
    highest = -1.0
    for at_s, percent in enumerate(percents):
        progress.report("p", percent, at_s)
        if progress.percent is not None:
            assert progress.percent >= highest
            highest = progress.percent


@given(reports=REPORTS, cut=st.integers(0, 60))
def test_a_restart_changes_nothing_but_the_speed(reports: list[tuple[str, float | None]], cut: int) -> None:
    whole, first, second = Progress(), Progress(), Progress()
    for at_s, (phase, percent) in enumerate(reports):
        whole.report(phase, percent, at_s)
    for at_s, (phase, percent) in enumerate(reports[:cut]):
        first.report(phase, percent, at_s)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.record()), type=ProgressRecord)
    second.restore(kept, ended=False)
    for at_s, (phase, percent) in enumerate(reports[cut:], min(cut, len(reports))):
        second.report(phase, percent, at_s)
    assert second.record() == whole.record()


def steady(progress: Progress, phase: str, first: float, last: float, at_s: float, until_s: float) -> None:
    """Report from `first` to `last` percent, every half second."""
    steps = round((until_s - at_s) * 2)
    for step in range(steps + 1):
        progress.report(phase, first + (last - first) * step / steps, at_s + step / 2)


def test_the_time_left_of_a_steady_scan() -> None:
    progress = Progress()
    steady(progress, "p", 0, 40, 0, 20)
    left = progress.time_left(20)
    assert left is not None
    assert left.of == "phase", "whether it is the scan's is not known yet"
    assert left.low < left.seconds < left.high
    assert left.seconds == pytest.approx(30, rel=0.02)
    assert (left.low, left.high) == (pytest.approx(27, rel=0.05), pytest.approx(33, rel=0.05))
    later = progress.time_left(21)
    assert later is not None
    assert later.seconds == pytest.approx(left.seconds - 1)


def test_it_is_the_scans_when_a_further_phase_carried_on() -> None:
    progress = Progress()
    steady(progress, "p", 0, 20, 0, 10)
    steady(progress, "q", 20.5, 40, 10.5, 20)
    assert isinstance(left := progress.time_left(20), TimeLeft)
    assert left.of == "scan"


def test_it_is_the_phases_when_each_counts_by_itself() -> None:
    progress = Progress()
    steady(progress, "p", 0, 20, 0, 10)
    steady(progress, "q", 20.5, 100, 10.5, 20)
    steady(progress, "r", 0, 50, 20.5, 30)
    assert isinstance(left := progress.time_left(30), TimeLeft)
    assert left.of == "phase"
    assert left.seconds == pytest.approx(9.5, rel=0.1)


def test_a_scan_that_slows_down_has_a_wide_range() -> None:
    progress = Progress()
    steady(progress, "p", 0, 40, 0, 20)
    steady(progress, "p", 40, 50, 20, 40)
    assert isinstance(left := progress.time_left(40), TimeLeft)
    assert left.low < 45 < 100 < left.high


def test_phases_to_come_may_be_as_fast_as_one_before() -> None:
    progress = Progress()
    steady(progress, "fast", 0, 20, 0, 5)
    steady(progress, "slow", 20.5, 40, 5, 25)
    assert isinstance(left := progress.time_left(25), TimeLeft)
    assert left.low < 60 / 4 < left.seconds < 60 < left.high


def test_phases_of_very_different_speeds_tell_nothing() -> None:
    progress = Progress()
    steady(progress, "fast", 0, 40, 0, 3)
    steady(progress, "slow", 40.5, 60, 3, 103)
    assert progress.time_left(103) is None


def test_a_very_short_phase_tells_no_speed() -> None:
    progress = Progress()
    progress.report("start", 10, 0)
    progress.report("start", 30, 1)
    steady(progress, "main", 30.5, 60, 1, 31)
    assert isinstance(left := progress.time_left(31), TimeLeft)
    assert left.low > 20


def test_the_time_left_of_a_simulated_scan_is_never_wrong() -> None:
    progress = Progress()
    told = 0
    for at_s, raw in heroforge(0, "x"):
        event = msgspec.json.decode(raw)
        if event["type"] == "scanProgress":
            progress.report(event["phase"], event["progress"], at_s)
        if (left := progress.time_left(at_s)) is not None:
            told += 1
            assert left.low <= 60 - at_s <= left.high
    assert told > 1_000


ABSENT = {
    "before anything": [],
    "too few": [(0, 0), (10, 10), (20, 20)],
    "too short": [(second / 10, second) for second in range(40)],
    "too little": [(second, second / 50) for second in range(60)],
    "it stands": [(second, second) for second in range(20)] + [(second, 19) for second in range(20, 60)],
    "finalising": [(second, second * 5) for second in range(21)],
    "it nearly stopped": [(second, second * 4) for second in range(21)]
    + [(20 + second, 80 + second / 100) for second in range(1, 80)],
}


@pytest.mark.parametrize("name", ABSENT)
def test_the_time_left_is_absent_rather_than_wrong(name: str) -> None:
    progress = Progress()
    at_s = 0.0
    for at_s, percent in ABSENT[name]:
        progress.report("p", percent, at_s)
    assert progress.time_left(at_s) is None


def test_a_pause_and_a_restart_begin_the_observation_anew() -> None:
    progress = Progress()
    steady(progress, "p", 0, 40, 0, 20)
    progress.observe_anew()
    assert progress.time_left(20) is None
    steady(progress, "p", 40, 50, 100, 110)
    assert isinstance(left := progress.time_left(110), TimeLeft)
    assert left.seconds == pytest.approx(50, rel=0.05), "the pause is not in it"


def test_the_end_leaves_no_time() -> None:
    progress = Progress()
    steady(progress, "p", 0, 40, 0, 20)
    progress.fail(20)
    assert progress.time_left(20) is None


def test_samples_are_bounded_and_cover_all_that_was_seen() -> None:
    progress = Progress()
    for step in range(20_000):
        progress.report("p", step / 250, step / 10)
    assert isinstance(left := progress.time_left(2000), TimeLeft)
    assert left.seconds == pytest.approx(500, rel=0.05)
