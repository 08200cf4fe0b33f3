"""Lines of a recording, and when their events are due."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventRejected
from pipeline.producer.replay import MAX_PAUSE_S, Pace, Replayed, read_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            b'{"channel":"scan/demo","epoch":7,"seq":3,"event":{"type":"a",  "x": 1.0}}',
            Replayed(b'{"type":"a",  "x": 1.0}', ("scan", "demo"), None),
            id="a recorded event, its bytes as they were",
        ),
        pytest.param(
            b'{"channel":"report/r","event":{"type":"a","ts":12.5}}',
            Replayed(b'{"type":"a","ts":12.5}', ("report", "r"), 12.5),
            id="of a report, with a time",
        ),
        pytest.param(
            b'{"type":"a","channel":"#general","ts":7}',
            Replayed(b'{"type":"a","channel":"#general","ts":7}', None, 7.0),
            id="an event by itself",
        ),
        pytest.param(
            b'{"type":"a","ts":"1970-01-01T00:01:00+00:00"}',
            Replayed(b'{"type":"a","ts":"1970-01-01T00:01:00+00:00"}', None, 60.0),
            id="ISO 8601",
        ),
        pytest.param(
            b'{"type":"a","ts":"1970-01-01T00:01:00"}',
            Replayed(b'{"type":"a","ts":"1970-01-01T00:01:00"}', None, 60.0),
            id="without a zone",
        ),
        pytest.param(
            b'{"type":"a","ts":"noon"}',
            Replayed(b'{"type":"a","ts":"noon"}', None, None),
            id="no time at all",
        ),
    ],
)
def test_a_line(line: bytes, expected: Replayed) -> None:
    assert read_line(line) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "json"),
        (b"[]", "schema"),
        (b'{"channel":"scan/demo","event":{"x":1}}', "schema"),
        (b'{"channel":"scan/../x","event":{"type":"a"}}', "bad_scan_id"),
        (b'{"channel":"scan/demo","event":7}', "schema"),
        (b'{"type":"\xff"}', "utf8"),
    ],
)
def test_a_line_that_is_no_event(line: bytes, reason: str) -> None:
    with pytest.raises(EventRejected) as caught:
        read_line(line)
    assert caught.value.reason == reason


def test_a_whole_line_and_nothing_less_is_an_event() -> None:
    line = b'{"channel":"scan/demo","epoch":7,"seq":3,"event":{"type":"a","x":1}}'
    read_line(line)
    for size in range(len(line)):
        with pytest.raises(EventRejected):
            read_line(line[:size])


@pytest.mark.parametrize(
    ("ts", "due_s"),
    [
        pytest.param([None, None], [0, 0], id="no times: at once"),
        pytest.param([100, 101, 103.5], [0, 1, 3.5], id="as far apart as they were"),
        pytest.param([None, 100, None, 102, None], [0, 0, 0, 2, 2], id="without a time: with the one before"),
        pytest.param([100, 102, 101, 103], [0, 2, 2, 3], id="a clock that goes back makes no pause"),
        pytest.param([100, 100 + 10 * MAX_PAUSE_S], [0, MAX_PAUSE_S], id="a long pause is cut"),
    ],
)
def test_pace(ts: list[float | None], due_s: list[float]) -> None:
    pace = Pace()
    assert [pace.due_s(each) for each in ts] == due_s


@given(st.lists(st.none() | st.floats(-1e12, 1e12), max_size=30))
def test_events_are_due_in_their_order_and_never_far_apart(ts: list[float | None]) -> None:
    pace = Pace()
    due = [pace.due_s(each) for each in ts]
    assert due == sorted(due)
    assert all(0 <= later - before <= MAX_PAUSE_S * 1.000001 for before, later in itertools.pairwise(due))
