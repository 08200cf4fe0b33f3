from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.event import DEFAULT_CATALOGUE, encode_event, read_event
from tests.unit.throttle_batch.conftest import TERMINAL, Core, fact, treatment


def fold(core: Core, *events: bytes):
    state = core.scan_state.ScanState()
    for raw in events:
        state.fold(read_event(raw), treatment(raw))
    return state


def progress(value: float, phase: str = "p") -> bytes:
    return encode_event({"type": "scanProgress", "phase": phase, "progress": value})


def phase(name: str, value: float | None = None) -> bytes:
    return encode_event({"type": "phaseStarted", "phase": name, "progress": value})


def report(value: float) -> bytes:
    return encode_event({"type": "reportPhase", "report_id": "r", "phase": "p", "progress": value})


FAILED = b'{"type":"error","message":"m"}'
WARNING = b'{"type":"error","message":"m","fatal":false}'
REPORT_FAILED = b'{"type":"reportFailed","report_id":"r","error":"e"}'
REPORT_DONE = b'{"type":"reportCompleted","report_id":"r"}'

STATES = {
    "nothing yet": ([], ("running", None, None)),
    "a phase without progress": ([phase("p")], ("running", "p", None)),
    "a phase with progress": ([phase("p", 3.0)], ("running", "p", 3.0)),
    "progress": ([progress(1.0), progress(40.0)], ("running", "p", 40.0)),
    "never back within a phase": ([progress(40.0), progress(1.0)], ("running", "p", 40.0)),
    "back with another phase": ([progress(40.0), progress(1.0, "q")], ("running", "q", 1.0)),
    "a new phase that names none keeps it": ([progress(40.0), phase("q")], ("running", "q", 40.0)),
    "below 0 is not shown": ([progress(40.0), progress(-1.0)], ("running", "p", 40.0)),
    "above 100 is not shown": ([progress(40.0), progress(101.0)], ("running", "p", 40.0)),
    "nor when nothing is known": ([progress(1e300)], ("running", "p", None)),
    "100 only once completed": ([progress(100.0)], ("running", "p", 99.9)),
    "completed": ([progress(40.0), TERMINAL], ("completed", "p", 100.0)),
    "completed for good": ([TERMINAL, progress(40.0, "q")], ("completed", "q", 100.0)),
    "failed keeps its progress": ([progress(40.0), FAILED], ("failed", "p", 40.0)),
    "a warning ends nothing": ([progress(40.0), WARNING], ("running", "p", 40.0)),
    "a report counts from 0 to 1": ([report(0.25)], ("running", "p", 25.0)),
    "a report is done": ([report(0.25), REPORT_DONE], ("completed", "p", 100.0)),
    "a report fails": ([report(0.25), REPORT_FAILED], ("failed", "p", 25.0)),
    "a long phase is cut": ([phase("x" * 5_000)], ("running", "x" * 200, None)),
    "and known again": (
        [progress(40.0, "x" * 5_000), progress(1.0, "x" * 5_000)],
        ("running", "x" * 200, 40.0),
    ),
}


def check_states(core: Core) -> None:
    for name, (events, expected) in STATES.items():
        state = fold(core, *events)
        assert (state.status, state.phase, state.progress) == expected, name


@pytest.mark.parametrize("name", STATES)
def test_state(core: Core, name: str) -> None:
    events, expected = STATES[name]
    state = fold(core, *events)
    assert (state.status, state.phase, state.progress) == expected


def test_counts_stay_bounded(core: Core) -> None:
    state = fold(core, *[b'{"type":"mine-%d"}' % number for number in range(1_000)], progress(1.0), TERMINAL)
    assert state.counts == {"other": 1_000, "scanProgress": 1, "scanCompleted": 1}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["p", "q"]), st.floats(allow_nan=False, allow_infinity=False)), max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_progress_is_honest(core: Core, steps: list[tuple[str, float]]) -> None:
    state = core.scan_state.ScanState()
    for name, value in steps:
        before, phase_before = state.progress, state.phase
        raw = progress(value, name)
        state.fold(read_event(raw), treatment(raw))
        assert state.phase == name
        assert state.progress is None or 0 <= state.progress < 100
        if before is not None and name == phase_before:
            assert state.progress >= before


@given(types=st.lists(st.one_of(st.sampled_from(["note", "x", "y"]), st.text(max_size=5)), max_size=30))
@settings(max_examples=30, deadline=None)
def test_every_event_is_counted_once(core: Core, types: list[str]) -> None:
    events = [encode_event({"type": name}) for name in types if name and name not in DEFAULT_CATALOGUE]
    state = fold(core, *events, fact(1))
    assert state.counts == {"other": len(events) + 1}
