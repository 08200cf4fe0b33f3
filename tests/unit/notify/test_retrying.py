"""What answers mean, and the pauses after them, exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.notify.retrying import Verdict, judge, pause_s, retry_after_s

NOW_S = 1_445_412_480.0
"""Wed, 21 Oct 2015 07:28:00 GMT."""


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.DELIVERED, [200, 201, 204, 299]),
        (Verdict.GONE, [410]),
        (Verdict.UNWELL, [None, 408, 425, 429, 500, 502, 503, 504, 599]),
        (Verdict.REFUSED, [300, 301, 302, 307, 308, 400, 401, 403, 404, 409, 411, 426, 428, 600, 999]),
    ],
)
def test_every_status_has_its_meaning(verdict: Verdict, statuses: list[int | None]) -> None:
    assert {judge(status) for status in statuses} == {verdict}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 0 ", 0),
        ("Wed, 21 Oct 2015 07:30:00 GMT", 120),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("\u0665", 0),
        ("9" * 90, 999_999_999_999),
        ("Wed, 99 Oct 2015 07:30:00 GMT", 0),
        ("Wed, 21 Oct 99999 07:30:00 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, NOW_S) == seconds


@given(st.text())
def test_retry_after_is_never_negative_and_never_fails(value: str) -> None:
    assert retry_after_s(value, NOW_S) >= 0


@pytest.mark.parametrize(
    ("failures", "whole"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (10, 2560), (11, 3600), (12, 3600), (10**6, 3600)],
)
def test_the_pause_doubles_up_to_the_longest(failures: int, whole: float) -> None:
    assert pause_s(failures, 5, 3600, 1.0) == whole
    assert pause_s(failures, 5, 3600, 0.0) == whole / 2
    assert pause_s(failures, 5, 3600, 0.5) == whole * 0.75


@pytest.mark.parametrize(("asked", "pause"), [(0, 5), (4, 5), (60, 60), (3600, 3600), (1e9, 3600)])
def test_a_receiver_may_ask_for_a_longer_pause_up_to_the_longest(asked: float, pause: float) -> None:
    assert pause_s(1, 5, 3600, 1.0, asked) == pause
